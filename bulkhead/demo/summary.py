"""What the demo tells at its end: a table, the traffic as a picture, one line of JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bulkhead.demo.traffic import Answer

_COLOURS = ("#4c78a8", "#54a24b", "#e45756", "#f2a33a", "#b279a2")
_STYLES = ("blue", "green", "red", "yellow", "magenta")
_ROWS = 8


@dataclass(frozen=True)
class Release:
    """What became of one release.

    Attributes:
        name: for people.
        run_id: of the DAG run.
        revision: released.
        result: ``promoted`` or ``rolled_back``.
        reason: with the numbers.
        detect_s: from first exposure (or from the missed deadline) to the decision to roll back.
        rollback_s: from the decision until traffic was verified back on the stable revision.
        begin: of the run, seconds since the epoch.
        end: of the run, likewise.
        requests: sent by clients during the run.
        failed: of those, not answered well.
        failed_elsewhere: of those, not answered by the released revision.
        last_failed_s: from the decision to roll back until the revision's last failed answer was complete; None where
            there was no such decision, or none failed.
    """

    name: str
    run_id: str
    revision: str
    result: str
    reason: str
    detect_s: float | None
    rollback_s: float | None
    begin: float
    end: float
    requests: int
    failed: int
    failed_elsewhere: int
    last_failed_s: float | None = None


def table(releases: Sequence[Release]) -> Table:
    """The releases as a table.

    Args:
        releases: in their order.
    """
    made = Table(
        title="Three releases",
        box=box.SIMPLE,
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )
    columns = ("release", "revision", "result", "detect", "return", "requests", "failed", "share")
    for column in columns:
        made.add_column(column, justify="right" if column in columns[3:] else "left", overflow="fold")
    for release in releases:
        style = "green" if release.result == "promoted" else "red"
        made.add_row(
            release.name,
            release.revision,
            Text(release.result, style=style),
            _seconds(release.detect_s),
            _seconds(release.rollback_s),
            f"{release.requests:,}",
            str(release.failed),
            f"{release.failed / release.requests:.2%}" if release.requests else "-",
        )
    return made


def reasons(releases: Sequence[Release]) -> Text:
    """Why each release ended as it did, a line each.

    Args:
        releases: in their order.
    """
    return Text("\n").join(Text(f"{release.name}: {release.reason}") for release in releases)


def as_json(
    metric: str, releases: Sequence[Release], connection_errors: int, seconds: float, broken: Sequence[str]
) -> str:
    """The one line for programs.

    Args:
        metric: name of the demo.
        releases: in their order.
        seconds: that the demo took.
        broken: what did not hold.
    """
    rows = [
        {
            "revision": release.revision,
            "result": release.result,
            "reason": release.reason,
            "detect_s": _rounded(release.detect_s),
            "rollback_s": _rounded(release.rollback_s),
            "last_failed_s": _rounded(release.last_failed_s),
            "requests": release.requests,
            "failed": release.failed,
        }
        for release in releases
    ]
    document = {
        "metric": metric,
        "releases": rows,
        "client_connection_errors": connection_errors,
        "seconds": round(seconds, 1),
        "held": not broken,
    }
    return json.dumps(document)


def terminal_chart(console: Console, answers: Sequence[Answer], revisions: Sequence[str]) -> None:
    """Who answered, second by second, as a stacked chart of characters.

    Args:
        answers: of the whole demo.
        revisions: in the order of their colours.
    """
    if not answers:
        return
    width = max(20, min(console.width - 8, 100))
    begin, end = answers[0].at, max(answer.at for answer in answers) + 0.001
    bins: list[Counter[str]] = [Counter() for _ in range(width)]
    for answer in answers:
        bins[int((answer.at - begin) / (end - begin) * width)][answer.revision or "none"] += 1
    console.print(f"Who answered, from the first request on ({end - begin:.0f} s):")
    for row in range(_ROWS, 0, -1):
        line = Text(f"{100 * row // _ROWS:4d} % " if row in (_ROWS, _ROWS // 2) else "       ")
        for bin_ in bins:
            line.append_text(_cell(bin_, (row - 0.5) / _ROWS, revisions))
        console.print(line)
    legend = Text("       ")
    for index, revision in enumerate(revisions):
        legend.append("█ ", style=_STYLES[index % len(_STYLES)]).append(f"{revision}   ")
    console.print(legend)


def picture(path: Path, answers: Sequence[Answer], revisions: Sequence[str], releases: Sequence[Release]) -> None:
    """The same as a PNG, with the failed requests below.

    Args:
        answers: of the whole demo.
        revisions: in the order of their colours.
        releases: shaded in the background.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    begin = answers[0].at
    seconds = int(max(answer.at for answer in answers) - begin) + 1
    bins: list[Counter[str]] = [Counter() for _ in range(seconds)]
    failed = [0] * seconds
    for answer in answers:
        bins[int(answer.at - begin)][answer.revision or "none"] += 1
        failed[int(answer.at - begin)] += not answer.ok
    shares = [[100 * bin_[name] / max(1, sum(bin_.values())) for bin_ in bins] for name in revisions]
    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 5.2), sharex=True, height_ratios=(3, 1))
    above.stackplot(range(seconds), shares, labels=revisions, colors=_COLOURS[: len(revisions)], step="mid")
    above.set(ylim=(0, 100), xlim=(0, seconds - 1), ylabel="share of the answers, %")
    above.set_title("Who answered the clients' requests, second by second")
    for release in releases:
        above.axvline(release.begin - begin, color="black", linewidth=0.8, linestyle=":")
        label = f"{release.name}: {release.result.replace('_', ' ')}"
        above.text(max(1, release.begin - begin + 1), 97, label, fontsize=9, verticalalignment="top")
        below.axvline(release.begin - begin, color="black", linewidth=0.8, linestyle=":")
    above.legend(loc="lower right", fontsize=8)
    below.bar(range(seconds), failed, color="#e45756", width=1.0)
    below.set(xlabel="seconds since the first request", ylabel="failed a second")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _cell(bin_: Counter[str], level: float, revisions: Sequence[str]) -> Text:
    total, reached = sum(bin_.values()), 0.0
    for index, revision in enumerate(revisions):
        reached += bin_[revision] / total if total else 0.0
        if level <= reached:
            return Text("█", style=_STYLES[index % len(_STYLES)])
    return Text(" ")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
