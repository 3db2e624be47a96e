"""The byte GPT: causal, as large as it says, and it learns."""

import pytest
import torch

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gpt import SIZES, Gpt, GptConfig

TINY = GptConfig(layers=2, heads=2, width=16, block=12)


def test_no_byte_is_told_by_those_after_it() -> None:
    torch.manual_seed(0)
    model = Gpt(TINY).eval()
    tokens = torch.randint(0, 256, (2, 12))
    other = tokens.clone()
    other[:, 7:] = (other[:, 7:] + 1) % 256
    with torch.inference_mode():
        ours, theirs = model(tokens), model(other)
    assert ours.shape == (2, 12, 256)
    assert torch.equal(ours[:, :7], theirs[:, :7])
    assert not torch.equal(ours[:, 7:], theirs[:, 7:])


def test_a_byte_is_told_by_where_the_others_are() -> None:
    torch.manual_seed(0)
    model = Gpt(TINY).eval()
    with torch.inference_mode():
        one, other = model(torch.tensor([[1, 2, 3]])), model(torch.tensor([[2, 1, 3]]))
    assert not torch.allclose(one[:, -1], other[:, -1])


@pytest.mark.parametrize(("name", "least", "most"), [("1m", 0.7e6, 1.3e6), ("10m", 9e6, 12e6), ("124m", 80e6, 130e6)])
def test_it_is_as_large_as_its_name(name: str, least: float, most: float) -> None:
    with torch.device("meta"):
        model = Gpt(SIZES[name])
    assert least < model.parameters_count() < most
    assert model.flops_a_token() > 6 * model.parameters_count()


def test_the_largest_is_of_a_billion() -> None:
    with torch.device("meta"):
        assert 0.85e9 < Gpt(SIZES["1b"]).parameters_count() < 1.15e9


def test_it_starts_knowing_nothing_and_learns_what_it_sees() -> None:
    torch.manual_seed(0)
    model = Gpt(TINY)
    samples = torch.randint(0, 256, (4, 13))
    before = model.loss(samples)
    assert before.item() == pytest.approx(5.545, abs=0.1)  # ln 256
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(samples).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert model.loss(samples).item() < 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"layers": 0}, r"gpt\.layers = 0"), ({"heads": 3}, r"gpt\.width = 16"), ({"heads": 16}, "even")],
)
def test_a_shape_that_cannot_be_is_named(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GptConfig(**{"layers": 2, "heads": 2, "width": 16, "block": 12, **wrong})


def test_a_context_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="context = 13 bytes: the model has 12"):
        Gpt(TINY)(torch.zeros(1, 13, dtype=torch.int64))
