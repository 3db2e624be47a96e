"""The order of the data: every sample once an epoch, and the same whoever goes on from where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.order import Order

SIZES = st.integers(1, 60)


@given(SIZES, st.integers(0, 2**32), st.integers(0, 5))
def test_an_epoch_has_every_sample_once(size: int, seed: int, epoch: int) -> None:
    assert sorted(Order(size, seed).batch(epoch * size, size)) == list(range(size))


@given(SIZES, st.integers(0, 1000), st.integers(0, 200), st.lists(st.integers(0, 30), max_size=8))
def test_going_on_from_anywhere_is_as_if_it_had_never_stopped(
    size: int, seen: int, seed: int, parts: list[int]
) -> None:
    whole = Order(size, seed).batch(seen, sum(parts))
    pieces, at = [np.empty(0, dtype=np.int64)], seen
    for part in parts:
        pieces.append(Order(size, seed).batch(at, part))  # another process each time
        at += part
    assert np.array_equal(np.concatenate(pieces), whole)


@given(SIZES, st.integers(0, 1000), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_any_number_of_ranks_sees_the_same_batch(size: int, seen: int, ranks: int) -> None:
    order = Order(size, 7)
    parts = [order.shard(seen, 12, rank, ranks) for rank in range(ranks)]
    assert np.array_equal(np.concatenate(parts), order.batch(seen, 12))


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    order = Order(1000, 1)
    assert not np.array_equal(order.batch(0, 1000), order.batch(1000, 1000))
    assert not np.array_equal(order.batch(0, 1000), Order(1000, 2).batch(0, 1000))
    assert order.epoch(2500) == (2, 500)


def test_the_order_is_that_of_numpys_philox_for_ever() -> None:
    # A resume on another machine, or after an upgrade, has to find the order in which the training began.
    assert Order(8, 2026).batch(0, 8).tolist() == [1, 3, 5, 4, 6, 0, 2, 7]


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ConfigError, match="size = 0"):
        Order(0, 1)
    with pytest.raises(ConfigError, match="global batch = 10: give a multiple of the 4 ranks"):
        Order(5, 1).shard(0, 10, 0, 4)
