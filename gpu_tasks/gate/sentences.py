"""What a comparison found, as one sentence for people."""

from __future__ import annotations

from bulkhead.gpu_tasks.gate.comparison import ComparisonResult, ComparisonVerdict


def sentence(result: ComparisonResult, champion: str) -> str:
    """Say what a comparison found, with its numbers and what can be done next.

    Args:
        champion: how it is called, for instance ``champion version 7``.

    Returns:
        One sentence, without a full stop.
    """
    comparison = result.comparison
    said = (
        f"{comparison.name} {result.candidate:.4g} against {result.champion:.4g} of {champion} on {result.rows} rows: "
    )
    interval = f"difference {result.difference:+.4f}, between {result.low:+.4f} and {result.high:+.4f}"
    match result.verdict:
        case ComparisonVerdict.NOT_WORSE:
            return f"{said}not worse by the margin of {comparison.margin:g} ({interval})"
        case ComparisonVerdict.BETTER:
            return f"{said}better ({interval})"
        case ComparisonVerdict.WORSE if comparison.superiority:
            return f"{said}not better ({interval})"
        case ComparisonVerdict.WORSE:
            return f"{said}worse by more than the margin of {comparison.margin:g} ({interval})"
        case ComparisonVerdict.TOO_LITTLE_DATA:
            claim = "is better" if comparison.superiority else f"keeps the margin of {comparison.margin:g}"
            return f"{said}too little data to tell whether it {claim} ({interval}); {_remedy(result)}"


def _remedy(result: ComparisonResult) -> str:
    if result.rows_needed is None:
        return "no number of rows would show it, as far as these say"
    good = "as much better as it seems" if result.comparison.superiority else "as good as the champion"
    return f"about {result.rows_needed} rows of data would do for a model that is {good}"
