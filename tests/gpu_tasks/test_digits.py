import numpy as np

from bulkhead.gpu_tasks import digits


def test_the_data_is_the_real_one_and_divided_the_same_way_each_time() -> None:
    first, second = digits.load(), digits.load()
    assert len(first.train_images) + len(first.test_images) == 1797
    assert first.train_images.shape[1] == digits.PIXELS and first.train_images.dtype == np.float32
    assert (first.train_images.min(), first.train_images.max()) == (0, digits.MAX_PIXEL)
    assert np.array_equal(first.test_images, second.test_images)
    assert first.data_hash == second.data_hash and len(first.data_hash) == 64


def test_no_image_is_in_both_parts() -> None:
    data = digits.load()
    train = {image.tobytes() for image in data.train_images}
    assert not train & {image.tobytes() for image in data.test_images}
