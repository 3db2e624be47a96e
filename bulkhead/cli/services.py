"""Commands that run parts of the system, and that look after a machine or a cluster."""

from __future__ import annotations

import faulthandler
import json
import logging
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bulkhead import settings
from bulkhead.alerts.alertmanager import Responder
from bulkhead.alerts.server import PATH as ALERTS_PATH
from bulkhead.alerts.server import AlertServer
from bulkhead.cli.console import app, console, errors_reported, on_termination, print_table
from bulkhead.collector import Collector
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.files import temporary_files
from bulkhead.logs import log_to_console
from bulkhead.monitoring.collector_metrics import CollectorMetrics
from bulkhead.monitoring.component import monitored
from bulkhead.router_agent.agent import HUNG_AFTER_S, RouterAgent
from bulkhead.router_agent.agent import run as follow_router
from bulkhead.routers.envoy.process import hold
from bulkhead.routers.envoy.process import start as start_envoy
from bulkhead.routers.envoy.router import EnvoyRouter
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.runtimes.kubernetes.doctor import CheckResult, diagnose
from bulkhead.tracing import exporting

log = logging.getLogger(__name__)

_RECONCILE_EVERY_S = 1.0
"""The loop polls twice a second; see ``bulkhead.rollout.wake``."""


@app.command()
def reconcile(
    watch: Annotated[bool, typer.Option(help="go on until SIGTERM")] = False,
) -> None:
    """Make the world match the ledger: once, or for as long as told."""
    stop = threading.Event()
    on_termination(stop.set)
    with errors_reported():
        control = Control(configured := settings.load())
        log_to_console(configured.log_format)
        with temporary_files(configured.home / "tmp"), exporting("reconciler"):
            if watch:
                with monitored(
                    configured.monitoring, "reconciler", lambda: control.ledger, every_s=_RECONCILE_EVERY_S
                ) as loop:
                    control.reconcile_until(stop.is_set, stop, loop.one_pass)
            else:
                control.reconcile_until(lambda: not control.reconciler.unsure, stop)


@app.command()
def collect(
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    watch: Annotated[bool, typer.Option(help="go on until SIGTERM")] = False,
    every: Annotated[float, typer.Option(help="with --watch: seconds between two passes", min=1, max=3600)] = 30.0,
) -> None:
    """End pods that no task waits for. Works from the ledger, with Airflow stopped; the DAG asks Airflow as well."""
    with errors_reported():
        control = Control(settings.load())
        collector = Collector(control.ledger.launches, lambda access: client(access, control.settings.kubeconfigs))
        if watch:
            _collect_until_stopped(control, collector, every)
            return
        rows = [asdict(orphan) for orphan in collector.collect()]
        orphans = collector.orphans()
        if as_json:
            print(json.dumps({"pods": rows, "orphans": orphans}))
            return
        print_table("Pods that no task waits for", rows)
        if orphans:
            console.print(f"not launched from this ledger, left alone: {', '.join(orphans)}")


def _collect_until_stopped(control: Control, collector: Collector, every_s: float) -> None:
    log_to_console(control.settings.log_format)
    stop = threading.Event()
    on_termination(stop.set)
    with monitored(control.settings.monitoring, "collector", lambda: control.ledger, every_s=every_s) as loop:
        metrics = CollectorMetrics(loop.registry)

        def collect_once() -> None:
            collected = collector.collect()
            metrics.show(collected, collector.orphans())
            for pod in collected:
                log.info("pod %s: %s (%s)", pod.pod, pod.what, pod.reason)

        loop.repeat(collect_once, every_s, stop)


@app.command()
def doctor(
    namespace: Annotated[str, typer.Option(help="where pods are to run")] = "default",
    kubeconfig: Annotated[Path | None, typer.Option(help="of the cluster; by default KUBECONFIG, or the pod's")] = None,
    context: Annotated[str | None, typer.Option(help="of the kubeconfig")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say what a cluster lacks: connection, version, access, admission, GPUs, API groups. Creates nothing."""
    with errors_reported():
        access = Access(config_file=str(kubeconfig) if kubeconfig else None, cluster_context=context)
        findings = list(diagnose(client(access, {}), namespace))
    rows = [asdict(finding) for finding in findings]
    if as_json:
        print(json.dumps(rows))
    else:
        print_table("Cluster", rows)
    raise typer.Exit(any(finding.verdict is CheckResult.MISSING for finding in findings))


@app.command()
def alerts(
    token_file: Annotated[Path, typer.Option(help="holds the bearer token that Alertmanager is given as well")],
    port: Annotated[int, typer.Option(help="TCP port")] = 9095,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
) -> None:
    """Hear Alertmanager's alerts, and roll back or isolate what they name; see docs/rollback.md."""
    with errors_reported():
        configured = settings.load()
        log_to_console(configured.log_format)
        try:
            token = token_file.read_text(encoding="utf-8").strip()
            server = AlertServer((host, port), token, Responder(control := Control(configured)))
        except OSError as error:
            raise UnavailableError(f"{error}; name a readable file, and a free port") from error
        on_termination(lambda: threading.Thread(target=server.shutdown).start())
        with monitored(configured.monitoring, "alerts", lambda: control.ledger, every_s=None):
            console.print(f"hearing alerts at http://{host}:{port}{ALERTS_PATH}")
            server.serve_forever()


@app.command()
def router(service: Annotated[str, typer.Argument(help="the service whose traffic to split")]) -> None:
    """Run a service's Envoy in the foreground, for a service manager; it starts with the split it had.

    In a pod beside an Envoy (the Helm chart runs it so): have that follow the service's split.
    """
    with errors_reported():
        stop = threading.Event()
        on_termination(stop.set)  # from the start: it may be told to before Envoy is ready
        configured = settings.load()
        placed = configured.service(service)
        if isinstance(placed, settings.ClusterService):
            _follow(configured, service, placed, stop)
            return
        envoy = start_envoy(EnvoyRouter(configured.routers, configured.ports), service)
        raise typer.Exit(hold(envoy, stop))


def _follow(
    configured: settings.Settings, service: str, placed: settings.ClusterService, stop: threading.Event
) -> None:
    """Make the Envoy beside this process follow a service's split, until told to stop."""
    if placed.envoy is None:
        remedy = "a Gateway splits its traffic: nothing is to be run; or give envoy in its place"
        raise InvalidInputError(f"services.{service}.gateway", placed.gateway, remedy)
    log_to_console(configured.log_format)
    access = Access(kubernetes_conn_id=placed.cluster)
    agent = RouterAgent(service, configured.routers, lambda: client(access, configured.kubeconfigs), placed.namespace)

    def end() -> None:
        stop.set()
        agent.wake.set()

    on_termination(end)
    # It ends by itself where it hangs, and says where: see the chart's routers.yaml.
    alarm = partial(faulthandler.dump_traceback_later, HUNG_AFTER_S, exit=True)
    follow_router(agent, placed.envoy, stop, sign_of_life=alarm)
    faulthandler.cancel_dump_traceback_later()
