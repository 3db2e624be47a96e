"""The command line. Works with Airflow stopped: it needs the ledger, the router and the runtime alone."""

from __future__ import annotations

import getpass
import json
import logging
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bulkhead import settings
from bulkhead.alerts.alertmanager import Responder
from bulkhead.alerts.server import PATH as ALERTS_PATH
from bulkhead.alerts.server import AlertServer
from bulkhead.collector import Collector
from bulkhead.control import Control
from bulkhead.errors import BulkheadError, NotFoundError, UnavailableError
from bulkhead.ledger.tables import Isolation, Rollout
from bulkhead.routers.envoy.process import hold
from bulkhead.routers.envoy.process import start as start_envoy
from bulkhead.routers.envoy.router import EnvoyRouter
from bulkhead.rungs import DEFAULT, Rung
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.runtimes.kubernetes.doctor import Verdict, diagnose

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
console = Console()
if not console.is_terminal:
    console = Console(width=120)  # a file has no width; 80 columns would fold every table
_REPOSITORY = Path(__file__).parents[1]


@app.command()
def demo(
    keep: Annotated[bool, typer.Option(help="leave everything running and print the URLs")] = False,
    stop: Annotated[bool, typer.Option(help="stop what an earlier demo left running")] = False,
    folder: Annotated[Path, typer.Option(help="for everything it makes; emptied first")] = Path(".demo"),
    dags: Annotated[Path, typer.Option(help="Airflow's DAGs folder")] = _REPOSITORY / "dags",
) -> None:
    """Release three models for real on this machine: a good one, a bad one, and one that hangs."""
    from bulkhead.demo.run import run
    from bulkhead.demo.stack import stop_left_over

    with _told():
        if stop:
            console.print(f"stopped {stop_left_over(folder.absolute())} processes and their pods")
            return
        raise typer.Exit(run(folder, dags, keep, console))


@app.command()
def status(
    service: Annotated[str | None, typer.Argument(help="only this service")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show services, their traffic, and the latest rollouts."""
    with _told():
        control = Control(settings.load())
        services = [control.ledger.service(service)] if service else control.ledger.services()
        rows = [_service_row(control, one.name, one.stable_revision, one.generation) for one in services]
        rollouts = [_rollout_row(one) for one in control.ledger.rollouts(service)]
        isolated = [_isolated_row(control, one) for one in control.ledger.isolated(service)]
        if as_json:
            print(json.dumps({"services": rows, "rollouts": rollouts, "isolated": isolated}))
            return
        _print_table("Services", rows)
        _print_table("Latest rollouts", rollouts)
        if isolated:
            _print_table("Isolated revisions", isolated)


@app.command()
def rollback(
    service: Annotated[str, typer.Argument(help="the service to roll back")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")] = "asked for on the command line",
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end, in seconds")] = 120,
) -> None:
    """Roll back what is in progress; where nothing is, return to the revision before the stable one."""
    with _told():
        control = Control(settings.load())
        rollout = control.roll_back(service, key=f"cli/{uuid.uuid4()}", reason=reason, requested_by=_who())
        _tell_end(control, rollout, wait_s)


@app.command()
def promote(
    revision: Annotated[str, typer.Argument(help="a revision that its service had before; see 'bulkhead status'")],
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end, in seconds")] = 120,
) -> None:
    """Give all traffic to an earlier revision, in one step; never to one that is isolated."""
    with _told():
        control = Control(settings.load())
        rollout = control.give_traffic(revision, key=f"cli/{uuid.uuid4()}", requested_by=_who())
        _tell_end(control, rollout, wait_s)


@app.command()
def approve(
    service: Annotated[str, typer.Argument(help="the service whose rollout waits for a person")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")] = "",
) -> None:
    """Let a rollout go on from a step that asks for a person."""
    with _told():
        control = Control(settings.load())
        control.ledger.service(service)
        waiting = control.ledger.active_rollout(service)
        if waiting is None:
            raise NotFoundError(f"service {service!r} has no rollout in progress; see 'bulkhead status {service}'")
        rollout = control.approve(waiting.id, key=f"cli/{uuid.uuid4()}", requested_by=_who(), reason=reason)
        console.print(f"recorded: rollout {rollout.id} may go on from step {rollout.step + 1}")


@app.command()
def isolate(
    revision: Annotated[str, typer.Argument(help="see 'bulkhead status'")],
    reason: Annotated[str, typer.Option(help="kept in the ledger, and told to whoever asks for it again")],
    rung: Annotated[list[Rung], typer.Option(help="how far; may be given several times")] = list(DEFAULT),  # noqa: B006
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end of its traffic, in seconds")] = 120,
) -> None:
    """Take a revision's traffic away and refuse it; by default its model as well."""
    with _told():
        control = Control(settings.load())
        asked = {"key": f"cli/{uuid.uuid4()}", "reason": reason, "requested_by": _who()}
        control.isolate(revision, rungs=rung, budgeted=False, **asked)
        console.print(f"recorded: revision {revision} is isolated")
        service = control.ledger.revision(revision).service
        _reconcile_until(control, lambda: not _has_traffic(control, service, revision), wait_s, "it still has traffic")
        console.print(f"traffic of {service}: {_traffic(control, service)}")


@app.command()
def release(
    revision: Annotated[str, typer.Argument(help="an isolated revision")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")],
) -> None:
    """Take an isolation back. Gives no traffic: 'bulkhead promote' does, or the next release of it."""
    with _told():
        ledger = Control(settings.load()).ledger
        ledger.release(revision, key=f"cli/{uuid.uuid4()}", reason=reason, requested_by=_who())
        console.print(f"recorded: revision {revision} may have traffic again")


@app.command()
def reconcile(
    watch: Annotated[bool, typer.Option(help="go on until SIGTERM")] = False,
) -> None:
    """Make the world match the ledger: once, or for as long as told."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    _when_told_to_end(stop.set)
    with _told():
        control = Control(settings.load())
        if watch:
            control.watch(stop)
        else:
            control.reconcile_until(lambda: not control.reconciler.unsure, stop)


@app.command()
def collect(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """End pods that no task waits for. Works from the ledger, with Airflow stopped; the DAG asks Airflow as well."""
    with _told():
        control = Control(settings.load())
        collector = Collector(control.launches, lambda access: client(access, control.settings.kubeconfigs))
        rows = [asdict(one) for one in collector.collect()]
        strays = collector.strays()
        if as_json:
            print(json.dumps({"pods": rows, "strays": strays}))
            return
        _print_table("Pods that no task waits for", rows)
        if strays:
            console.print(f"not launched from this ledger, left alone: {', '.join(strays)}")


@app.command()
def doctor(
    namespace: Annotated[str, typer.Option(help="where pods are to run")] = "default",
    kubeconfig: Annotated[Path | None, typer.Option(help="of the cluster; by default KUBECONFIG, or the pod's")] = None,
    context: Annotated[str | None, typer.Option(help="of the kubeconfig")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say what a cluster lacks: connection, version, access, admission, GPUs, API groups. Creates nothing."""
    with _told():
        access = Access(config_file=str(kubeconfig) if kubeconfig else None, cluster_context=context)
        findings = list(diagnose(client(access, {}), namespace))
    rows = [asdict(one) for one in findings]
    if as_json:
        print(json.dumps(rows))
    else:
        _print_table("Cluster", rows)
    raise typer.Exit(any(one.verdict is Verdict.MISSING for one in findings))


@app.command()
def alerts(
    token_file: Annotated[Path, typer.Option(help="holds the bearer token that Alertmanager is given as well")],
    port: Annotated[int, typer.Option(help="TCP port")] = 9095,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
) -> None:
    """Hear Alertmanager's alerts, and roll back or isolate what they name; see docs/rollback.md."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with _told():
        try:
            token = token_file.read_text(encoding="utf-8").strip()
            server = AlertServer((host, port), token, Responder(Control(settings.load())))
        except OSError as error:
            raise UnavailableError(f"{error}; name a readable file, and a free port") from error
    _when_told_to_end(lambda: threading.Thread(target=server.shutdown).start())
    console.print(f"hearing alerts at http://{host}:{port}{ALERTS_PATH}")
    server.serve_forever()


@app.command()
def router(service: Annotated[str, typer.Argument(help="the service whose traffic to split")]) -> None:
    """Run a service's Envoy in the foreground, for a service manager; it starts with the split it had."""
    with _told():
        stop = threading.Event()
        _when_told_to_end(stop.set)  # from the start: it may be told to before Envoy is ready
        known = settings.load()
        envoy = start_envoy(EnvoyRouter(known.routers, known.ports), service)
        raise typer.Exit(hold(envoy, stop))


def _when_told_to_end(act: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: act())


def _tell_end(control: Control, rollout: Rollout, wait_s: float) -> None:
    console.print(f"recorded: rollout {rollout.id} of revision {rollout.revision_id}")
    told = f"rollout {rollout.id} has not ended"
    _reconcile_until(control, lambda: control.ledger.rollout(rollout.id).phase.ended, wait_s, told)
    traffic, phase = _traffic(control, rollout.service), control.ledger.rollout(rollout.id).phase
    console.print(f"rollout {rollout.id} is {phase}; traffic of {rollout.service}: {traffic}")


def _reconcile_until(control: Control, done: Callable[[], bool], wait_s: float, told: str) -> None:
    stop = threading.Event()
    timer = threading.Timer(wait_s, stop.set)
    timer.start()
    try:
        if not control.reconcile_until(done, stop):
            raise UnavailableError(f"{told} after {wait_s:g} s; see 'bulkhead status'")
    finally:
        timer.cancel()


def _has_traffic(control: Control, service: str, revision: str) -> bool:
    return bool(_traffic(control, service).get(revision))


def _traffic(control: Control, service: str) -> dict[str, int]:
    """Percent by revision."""
    return dict(control.site(service).router.read(service)[1].weights)


def _who() -> str:
    return f"cli: {getpass.getuser()}"


def _service_row(control: Control, name: str, stable: str | None, generation: int) -> dict[str, Any]:
    try:
        weights: Any = _traffic(control, name)
    except NotFoundError as error:
        weights = str(error)
    return {"service": name, "stable": stable, "traffic": weights, "generation": generation}


def _rollout_row(rollout: Rollout) -> dict[str, Any]:
    return {
        "rollout": rollout.id,
        "service": rollout.service,
        "revision": rollout.revision_id,
        "phase": str(rollout.phase),
        "weight": rollout.plan["steps"][rollout.step]["weight"],
        "since": rollout.phase_at.isoformat(timespec="seconds"),
        "owner": rollout.owner,
        "reason": rollout.reason,
    }


def _isolated_row(control: Control, isolation: Isolation) -> dict[str, Any]:
    rungs = control.ledger.isolations(isolation.revision_id)
    return {
        "revision": isolation.revision_id,
        "model": control.ledger.revision(isolation.revision_id).model_uri,
        "rungs": ", ".join(f"{one.rung}{'' if one.applied_at else ' (coming)'}" for one in rungs),
        "since": isolation.created_at.isoformat(timespec="seconds"),
        "reason": isolation.reason,
    }


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for name in rows[0] if rows else ["nothing yet"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


@contextmanager
def _told() -> Iterator[None]:
    """A person reads one sentence, not a traceback."""
    try:
        yield
    except BulkheadError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
