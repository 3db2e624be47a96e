"""The gate's report: one page of HTML that needs nothing else, with the verdict in its first sentence."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bulkhead.gpu_tasks.gate.comparison import ComparisonResult
from bulkhead.gpu_tasks.gate.judgement import GateJudgement, Measured
from bulkhead.gpu_tasks.gate.metrics import Metric
from bulkhead.gpu_tasks.gate.plots import Plot
from bulkhead.gpu_tasks.gate.request import GateRequest
from bulkhead.gpu_tasks.gate.verdict import GateVerdict

_WIDTH, _LABELS, _ROW = 860, 300, 26
"""Of a plot, of its labels, and the height of a row; in pixels."""

_EDGE = 60
"""So near to the right end a label ends at its place, to be seen whole."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #1b1f24 }
h1 { font-size: 1.35em } h2 { font-size: 1.1em; margin-top: 2em } code { overflow-wrap: anywhere }
table { border-collapse: collapse }
th, td { text-align: left; padding: .2em 1em .2em 0; border-bottom: 1px solid #d5d9de }
td.number { text-align: right; font-variant-numeric: tabular-nums } svg text { font-size: 13px; fill: #1b1f24 }
.passed { color: #146c2e } .refused { color: #b3261e }
"""
_COLOURS = {"not-worse": "#146c2e", "better": "#146c2e", "worse": "#b3261e", "too-little-data": "#8a6100"}


def report(
    judgement: GateJudgement,
    request: GateRequest,
    model_uri: str,
    digest: str,
    checks: int,
    verdict: GateVerdict,
    plots: Sequence[Plot] = (),
) -> str:
    """The page.

    Args:
        judgement: what was found.
        request: what was asked.
        model_uri: of the candidate.
        digest: of the data.
        checks: expectations that the data kept.
        verdict: what follows from the judgement, and from a person's override.
        plots: of what was answered.

    Returns:
        HTML. Whatever a model, a slice or a column is called is text in it, never markup.
    """
    called = "passed" if verdict.passed else "refused"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(request.model_name)}: {called}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f'<h1 class="{called}">{_first_sentence(judgement, request, verdict)}</h1>',
        _reasons(verdict.refusals if verdict.override_used else verdict.refusals[1:]),
        f"<p>Candidate <code>{escape(model_uri)}</code>, {_against(judgement)}, on {_rows(judgement)} rows of "
        f"<code>{escape(request.data)}</code> (SHA-256 <code>{escape(digest)}</code>), which kept {checks} checks. A "
        f"model that is worse by a margin passes with a probability of at most {request.alpha:g}.</p>",
        *(
            _forest(metric, judgement.compared)
            for metric in dict.fromkeys(result.comparison.metric for result in judgement.compared)
        ),
        _table(judgement.measured),
        _costs(judgement),
        *(f"<h2>{escape(plot.title)}</h2>\n<div>{plot.svg}</div>" for plot in plots),
        _too_small(judgement.too_small, request.least_rows),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _first_sentence(judgement: GateJudgement, request: GateRequest, verdict: GateVerdict) -> str:
    name = escape(request.model_name)
    if verdict.override_used:
        assert verdict.override is not None
        word = escape(verdict.override.sentence())
        return f"The candidate for {name} is refused, and passes by a person's word: {word}."
    if verdict.refusals:
        return f"The candidate for {name} is refused: {escape(verdict.refusals[0])}."
    if not judgement.champion:
        why = escape(judgement.lost) or "there is no champion to compare with"
        return f"The candidate for {name} passes: it keeps every limit, and {why}."
    return f"The candidate for {name} passes: it keeps every limit, and is not worse than {escape(judgement.champion)}."


def _reasons(refusals: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(refusal)}</li>" for refusal in refusals) + "</ul>" if refusals else ""


def _against(judgement: GateJudgement) -> str:
    return f"against {escape(judgement.champion)}" if judgement.champion else "the first model"


def _rows(judgement: GateJudgement) -> int:
    return max(measurement.rows for measurement in judgement.measured)


def _forest(metric: Metric, compared: Sequence[ComparisonResult]) -> str:
    """Differences of one metric with their intervals, a row for all rows and for each slice, the worst slice first."""
    mine, sign = [result for result in compared if result.comparison.metric is metric], metric.sign
    mine.sort(key=lambda result: (bool(result.comparison.slice_name), sign * result.difference))
    bound = -sign * mine[0].comparison.allowed
    low, high = min(bound, 0.0, *(result.low for result in mine)), max(bound, 0.0, *(result.high for result in mine))
    scale = (_WIDTH - _LABELS - 20) / ((high - low) or 1.0)

    def x(value: float) -> float:
        return round(_LABELS + 10 + (value - low) * scale, 1)

    height = _ROW * (len(mine) + 1)
    lines = [
        f'<line x1="{x(0)}" x2="{x(0)}" y1="0" y2="{height - _ROW}" stroke="#5f6771"/>',
        f'<line x1="{x(bound)}" x2="{x(bound)}" y1="0" y2="{height - _ROW}" stroke="#b3261e" stroke-dasharray="4 3"/>',
        f'<text x="{x(0)}" y="{height - 8}" text-anchor="middle">0</text>',
    ]
    if bound:
        anchor = "end" if x(bound) > _WIDTH - _EDGE else "middle"
        lines.append(f'<text x="{x(bound)}" y="{height - 8}" text-anchor="{anchor}">{bound:+g}</text>')
    for row, bar in enumerate(mine):
        y, colour = _ROW * row + _ROW // 2, _COLOURS[bar.verdict]
        label = escape(f"{bar.comparison.slice_name or 'all rows'} ({bar.rows})")
        lines += [
            f'<text x="0" y="{y + 4}">{label}</text>',
            f'<line x1="{x(bar.low)}" x2="{x(bar.high)}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>',
            f'<circle cx="{x(bar.difference)}" cy="{y}" r="4" fill="{colour}"><title>{escape(bar.verdict)}: '
            f"{bar.difference:+.4g}, between {bar.low:+.4g} and {bar.high:+.4g}</title></circle>",
        ]
    better = "larger" if sign > 0 else "smaller"
    return (
        f"<h2>{escape(metric.name)}: candidate less champion ({better} is better)</h2>\n"
        f'<svg role="img" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">'
        + "".join(lines)
        + "</svg>"
    )


def _table(measured: Sequence[Measured]) -> str:
    rows = [
        f"<tr><td>{escape(measurement.metric)}</td><td>{escape(measurement.slice_name or 'all rows')}</td>"
        f'<td class="number">{measurement.rows}</td><td class="number">{measurement.value:.4g}</td>'
        f'<td class="{"refused" if measurement.broken else "passed"}">{escape(measurement.broken) or "kept"}</td></tr>'
        for measurement in measured
    ]
    head = "<tr><th>metric</th><th>of</th><th>rows</th><th>candidate</th><th>limits</th></tr>"
    return f"<h2>Metrics and their limits</h2>\n<table>{head}{''.join(rows)}</table>"


def _costs(judgement: GateJudgement) -> str:
    if not judgement.costs:
        return ""
    rows = [
        f'<tr><td>{escape(cost.name)}</td><td class="number">{cost.batch or ""}</td>'
        f'<td class="number">{cost.candidate:.4g}</td>'
        f'<td class="number">{"" if cost.champion is None else f"{cost.champion:.4g}"}</td>'
        f'<td class="{"refused" if cost.broken else "passed"}">{escape(cost.broken) or "kept"}</td></tr>'
        for cost in judgement.costs
    ]
    head = "<tr><th>cost</th><th>rows at once</th><th>candidate</th><th>champion</th><th>limits</th></tr>"
    return f"<h2>Costs and their limits</h2>\n<table>{head}{''.join(rows)}</table>"


def _too_small(names: Sequence[str], least_rows: int) -> str:
    if not names:
        return ""
    listed = "".join(f"<li>{escape(name)}</li>" for name in names)
    return f"<h2>Not judged: slices of fewer than {least_rows} rows</h2>\n<ul>{listed}</ul>"
