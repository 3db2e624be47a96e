"""Pictures of what two models answer, for the gate's report: confusion or residuals, calibration, latency."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bulkhead.gpu_tasks.gate.answers import GateAnswers, ModelAnswers
from bulkhead.gpu_tasks.gate.resampling import Array

_MOST_CLASSES = 20
"""So many a confusion matrix is legible with; numbers of more values have residuals."""

_MOST_POINTS = 1_000
_BINS = 10
_DARK = 0.6
"""Share from which on a cell of a confusion is so dark that black is not legible in it."""

_OURS, _THEIRS = "#1f5fa8", "#8a8f98"
_LONGEST_LABEL = 24


@dataclass(frozen=True)
class Plot:
    """A picture.

    Attributes:
        title: what it shows.
        svg: that needs nothing else.
    """

    title: str
    svg: str


def plots(targets: Array, answers: GateAnswers) -> list[Plot]:
    """Those that fit what was answered.

    Args:
        targets: what is true, shape (rows,).
        answers: of both models.
    """
    named = list(_named(answers))
    pictures = []
    classes = _classes(targets, [given.values for _, given in named])
    if 0 < len(classes) <= _MOST_CLASSES:
        pictures.append(_confusion(classes, targets, named))
    elif answers.candidate.probabilities is None and all(
        _are_numbers(array) for array in (targets, *(each.values for _, each in named))
    ):
        pictures.append(_residuals(targets, named))
    if all(given.probabilities is not None for _, given in named) and _are_numbers(targets):
        pictures.append(_calibration(targets, named))
    if answers.timings:
        pictures.append(_latency(answers))
    return pictures


def _named(answers: GateAnswers) -> Iterator[tuple[str, ModelAnswers]]:
    yield "candidate", answers.candidate
    if answers.champion is not None:
        yield "champion", answers.champion


def _are_numbers(values: Array) -> bool:
    return bool(np.issubdtype(values.dtype, np.number) or np.issubdtype(values.dtype, np.bool_))


def _classes(targets: Array, answered: Sequence[Array]) -> list[Any]:
    """All that there are, numbers in their order, then the others in that of their texts; none of what is no class."""
    arrays = (targets, *answered)
    if any(isinstance(value, list | dict) for array in arrays for value in array[:1]):
        return []
    if any(np.issubdtype(array.dtype, np.floating) and (array % 1 != 0).any() for array in arrays):
        return []
    seen = {value for array in arrays for value in array.tolist()}
    return sorted(seen, key=lambda label: (0, label, "") if isinstance(label, int | float) else (1, 0, str(label)))


def _confusion(classes: Sequence[Any], targets: Array, named: Sequence[tuple[str, ModelAnswers]]) -> Plot:
    places = {label: place for place, label in enumerate(classes)}

    def draw(figure: Any) -> None:
        for axes, (name, answers) in zip(_beside(figure, len(named)), named, strict=True):
            counts = np.zeros((len(classes), len(classes)), dtype=int)
            for true, said in zip(targets.tolist(), answers.values.tolist(), strict=True):
                counts[places[true], places[said]] += 1
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1.3, edgecolors="white", linewidth=1)
            for row, column in np.argwhere(counts):
                ink = "white" if shares[row, column] > _DARK else "black"
                axes.text(column + 0.5, row + 0.5, counts[row, column], ha="center", va="center", fontsize=7, color=ink)
            ticks = np.arange(len(classes)) + 0.5
            labels = [str(label)[:_LONGEST_LABEL] for label in classes]
            axes.set_xticks(
                ticks, labels, fontsize=7, rotation=90 if max(map(len, labels)) > 3 else 0, parse_math=False
            )
            axes.set_yticks(ticks, labels, fontsize=7, parse_math=False)
            axes.invert_yaxis()
            axes.set(title=name, xlabel="predicted", ylabel="true")

    return _plot("Confusion: rows by what is true and what is predicted", draw, len(named))


def _residuals(targets: Array, named: Sequence[tuple[str, ModelAnswers]]) -> Plot:
    rows = np.random.default_rng(0).permutation(len(targets))[:_MOST_POINTS]
    true = targets.astype(float)

    def draw(figure: Any) -> None:
        colours = dict(zip(("candidate", "champion"), (_OURS, _THEIRS), strict=True))
        shared = None
        for axes, (name, answers) in zip(_beside(figure, len(named)), named, strict=True):
            said = answers.values.astype(float)
            axes.scatter(said[rows], (said - true)[rows], s=6, alpha=0.5, color=colours[name], linewidths=0)
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set(title=name, xlabel="predicted", ylabel="predicted less true")
            if shared is not None:
                axes.sharey(shared)
            shared = axes

    shown = f", {_MOST_POINTS} rows of {len(targets)}" if len(targets) > _MOST_POINTS else ""
    return _plot(f"Residuals{shown}", draw, len(named))


def _calibration(targets: Array, named: Sequence[tuple[str, ModelAnswers]]) -> Plot:
    """How often what a model is so sure of is true: of two classes the second, of more the one that it predicts."""

    def draw(figure: Any) -> None:
        (axes,) = _beside(figure, 1)
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
        for (name, answers), colour in zip(named, (_OURS, _THEIRS), strict=False):
            sure, true = _sureness(targets, answers)
            ends = np.unique(np.quantile(sure, np.linspace(0, 1, _BINS + 1)))
            within = np.clip(np.searchsorted(ends, sure, side="right") - 1, 0, max(len(ends) - 2, 0))
            used = np.unique(within)
            means = [(sure[within == part].mean(), true[within == part].mean()) for part in used]
            axes.plot(*zip(*means, strict=True), marker="o", markersize=4, color=colour, label=name)
        axes.set(xlabel="probability that the model gives", ylabel="share that is true", xlim=(0, 1), ylim=(0, 1))
        axes.legend(fontsize=8)

    return _plot("Calibration, in tenths of the rows", draw, 1)


def _sureness(targets: Array, answers: ModelAnswers) -> tuple[Array, Array]:
    probabilities = answers.probabilities
    assert probabilities is not None
    if probabilities.ndim == 2 and probabilities.shape[1] > 2:
        return probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    two = probabilities[:, 1] if probabilities.ndim == 2 else probabilities
    return two, targets.astype(float)


def _latency(answers: GateAnswers) -> Plot:
    def draw(figure: Any) -> None:
        for axes, timing in zip(_beside(figure, len(answers.timings)), answers.timings, strict=True):
            for name, times, colour in zip(("candidate", "champion"), timing.times, (_OURS, _THEIRS), strict=False):
                axes.step(np.sort(times), np.arange(1, len(times) + 1) / len(times), color=colour, label=name)
            for share in (0.5, 0.95):
                axes.axhline(share, color="black", linewidth=0.6, linestyle=":")
            axes.set(title=f"{timing.batch} rows at once", xlabel="milliseconds", ylabel="share of requests")
            axes.set(xlim=(0, None), ylim=(0, 1))
            axes.legend(fontsize=8)

    return _plot(
        "Latency: share of requests answered within a time; median and 95th percentile", draw, len(answers.timings)
    )


def _beside(figure: Any, number: int) -> Sequence[Any]:
    return list(figure.subplots(1, number, squeeze=False)[0])


def _plot(title: str, draw: Callable[[Any], None], number: int) -> Plot:
    """Draw, with texts as such and ids of its own, so that several stand in one page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9}):
        figure = Figure(figsize=(4.3 * number, 3.6), layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    return Plot(title, text[text.index("<svg") :])
