"""Running the demo from its start to its end."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from bulkhead.demo import summary
from bulkhead.demo.cluster.manifests import DemoImages
from bulkhead.demo.cluster.stack import ClusterStack
from bulkhead.demo.cluster.story import ClusterStory
from bulkhead.demo.local_story import LocalStory
from bulkhead.demo.progress import Progress
from bulkhead.demo.stack import LocalStack
from bulkhead.demo.story import Stack, Story
from bulkhead.demo.traffic import Clients, DemoTraffic
from bulkhead.errors import BulkheadError, InvalidInputError

_RATE = 40.0
_DAG = "digits_release.py"


def on_this_machine(folder: Path, dags: Path, keep: bool, console: Console) -> int:
    """Run the demo with everything as processes of this machine.

    Args:
        folder: for everything it makes; emptied first.
        dags: Airflow's DAGs folder, with ``digits_release.py`` in it.
        keep: leave everything running at the end and print the URLs.

    Returns:
        The exit code: 0 only if every expectation held.

    Raises:
        InvalidInputError: the DAG is not there.
    """
    _dag(dags)
    stack = LocalStack(folder.absolute(), dags.absolute())
    stack.prepare()
    traffic = DemoTraffic(stack.endpoint, _RATE)
    progress = _progress(console, stack, traffic)
    return _run("demo", LocalStory(stack=stack, traffic=traffic, progress=progress), keep, console)


def on_a_cluster(folder: Path, dags: Path, images: DemoImages, keep: bool, console: Console) -> int:
    """Run the demo in the cluster that KUBECONFIG names.

    Args:
        folder: for what is left to look at; emptied first.
        dags: see ``on_this_machine``.
        images: that the cluster can pull.
        keep: leave everything running at the end and say how it is reached.

    Returns:
        See ``on_this_machine``.

    Raises:
        InvalidInputError: the DAG is not there, or the cluster is not fit.
        UnavailableError: the cluster does not answer.
    """
    stack = ClusterStack(folder.absolute(), _dag(dags), images, _RATE)
    stack.prepare()
    progress = _progress(console, stack, stack.traffic)
    return _run("cluster-demo", ClusterStory(stack=stack, traffic=stack.traffic, progress=progress), keep, console)


def _dag(dags: Path) -> Path:
    if not (dags / _DAG).exists():
        raise InvalidInputError("dags", str(dags), f"run the demo from a clone: its dags/ folder holds {_DAG}")
    return dags / _DAG


def _progress(console: Console, stack: Stack, traffic: Clients) -> Progress:
    def check() -> None:
        stack.check()
        traffic.check()

    return Progress(console, check)


def _run(metric: str, story: Story, keep: bool, console: Console) -> int:
    stack, traffic, progress = story.stack, story.traffic, story.progress
    _interruptible()
    done = False
    try:
        with progress.heard("the demo"):
            story.start()
            releases = [story.good(), story.bad(), story.hanging()]
            traffic.stop()
            errors = story.check_traffic(releases)
        done = True
    except BulkheadError as error:
        console.print(f"[red]the demo failed:[/red] {escape(str(error))}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted: stopping everything that was started")
        return 130
    finally:
        if not (keep and done):
            _uninterruptible()
            progress.say("stopping everything that was started")
            with progress.heard("stopping"):
                stack.stop(lambda left: progress.beat(f"stopping {left}"))
    _report(console, story, releases)
    if keep:
        console.print(stack.left_running(), highlight=False, soft_wrap=True)
    print(summary.as_json(metric, releases, errors, progress.elapsed_s, story.broken), flush=True)
    return 1 if story.broken else 0


def _report(console: Console, story: Story, releases: list[summary.Release]) -> None:
    answers = story.traffic.answers
    revisions = list(dict.fromkeys(answer.revision for answer in answers if answer.revision))
    console.print(summary.table(releases))
    console.print(summary.reasons(releases))
    summary.terminal_chart(console, answers, revisions)
    path = story.stack.folder / "traffic.png"
    summary.picture(path, answers, revisions, releases)
    console.print(f"The same as a picture: {path}", highlight=False)
    for sentence in story.broken:
        console.print(f"[red]did not hold:[/red] {escape(sentence)}", highlight=False)
    if not story.broken:
        console.print("[green]every expectation held[/green]")


def _uninterruptible() -> None:
    """A second Ctrl-C must not leave half of it running."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _interruptible() -> None:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: through the code that stops everything."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
