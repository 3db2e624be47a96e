"""Commands that show the whole of it, from a clone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bulkhead.cli.console import app, console, errors_reported

_DAGS = Path(__file__).parents[2] / "dags"

_Keep = Annotated[bool, typer.Option("--keep", help="leave everything running and print the URLs")]
_Dags = Annotated[Path, typer.Option(help="Airflow's DAGs folder")]


@app.command()
def demo(
    keep: _Keep = False,
    stop: Annotated[bool, typer.Option("--stop", help="stop what an earlier demo left running")] = False,
    folder: Annotated[Path, typer.Option(help="for everything it makes; emptied first")] = Path(".demo"),
    dags: _Dags = _DAGS,
) -> None:
    """Release three models for real on this machine: a good one, a bad one, and one that hangs."""
    from bulkhead.demo.run import on_this_machine
    from bulkhead.demo.stack import stop_left_over

    with errors_reported():
        if stop:
            console.print(f"stopped {stop_left_over(folder.absolute())} processes and their pods")
            return
        raise typer.Exit(on_this_machine(folder, dags, keep, Console(width=console.width)))


@app.command()
def cluster_demo(
    keep: _Keep = False,
    stop: Annotated[bool, typer.Option("--stop", help="take away what an earlier demo left in the cluster")] = False,
    folder: Annotated[Path, typer.Option(help="for its picture; emptied first")] = Path(".cluster-demo"),
    dags: _Dags = _DAGS,
    image_prefix: Annotated[str, typer.Option(help="of control, tasks, airflow and router")] = "localhost/bulkhead-",
    image_tag: Annotated[str, typer.Option(help="of these images")] = "latest",
    postgres_image: Annotated[str, typer.Option(help="PostgreSQL's official image, or one like it")] = "postgres:17",
) -> None:
    """The same in the cluster that KUBECONFIG names: the chart, Airflow, pods and clients, all inside it."""
    from bulkhead.demo.cluster.manifests import DemoImages
    from bulkhead.demo.cluster.stack import take_away
    from bulkhead.demo.run import on_a_cluster

    with errors_reported():
        if stop:
            take_away(lambda left: console.print(f"stopping {left}"))
            return
        images = DemoImages(image_prefix, image_tag, postgres_image)
        raise typer.Exit(on_a_cluster(folder, dags, images, keep, Console(width=console.width)))
