"""Running the demo from its start to its end."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from bulkhead.demo import summary
from bulkhead.demo.progress import Progress
from bulkhead.demo.stack import Stack
from bulkhead.demo.story import Story
from bulkhead.demo.traffic import DemoTraffic
from bulkhead.errors import BulkheadError, InvalidInputError

_RATE = 40.0


def run(folder: Path, dags: Path, keep: bool, console: Console) -> int:
    """Run the demo.

    Args:
        folder: for everything it makes; emptied first.
        dags: Airflow's DAGs folder, with ``digits_release.py`` in it.
        keep: leave everything running at the end and print the URLs.

    Returns:
        The exit code: 0 only if every expectation held.
    """
    if not (dags / "digits_release.py").exists():
        raise InvalidInputError(
            "dags", str(dags), "run the demo from a clone: its dags/ folder holds digits_release.py"
        )
    stack = Stack(folder.absolute(), dags.absolute())
    stack.prepare()
    traffic = DemoTraffic(stack.endpoint, _RATE)

    def check() -> None:
        stack.processes.check()
        traffic.check()

    progress = Progress(console, check)
    story = Story(stack, traffic, progress)
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
            stack.stop(lambda left: progress.beat(f"stopping {left}"))
    _report(console, stack, traffic, story, releases)
    if keep:
        _print_urls(console, stack)
    print(summary.as_json(releases, errors, progress.elapsed_s), flush=True)
    return 1 if story.broken else 0


def _report(
    console: Console, stack: Stack, traffic: DemoTraffic, story: Story, releases: list[summary.Release]
) -> None:
    revisions = list(dict.fromkeys(answer.revision for answer in traffic.answers if answer.revision))
    console.print(summary.table(releases))
    console.print(summary.reasons(releases))
    summary.terminal_chart(console, traffic.answers, revisions)
    path = stack.folder / "traffic.png"
    summary.picture(path, traffic.answers, revisions, releases)
    console.print(f"The same as a picture: {path}", highlight=False)
    for sentence in story.broken:
        console.print(f"[red]did not hold:[/red] {escape(sentence)}", highlight=False)
    if not story.broken:
        console.print("[green]every expectation held[/green]")


def _print_urls(console: Console, stack: Stack) -> None:
    console.print(
        f"""
Everything is left running (stop it with [b]make demo-stop[/b]):
  Airflow UI      {stack.airflow.url}
  MLflow UI       {stack.settings.mlflow_tracking_uri}
  login of both   {stack.login}
  model endpoint  {stack.endpoint}
  command line    BULKHEAD_CONFIG={stack.folder}/config.yaml bulkhead status
""",
        highlight=False,
        soft_wrap=True,
    )


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
