"""What answering costs: latency, memory and size, of the candidate and of the champion in turns, in one pod."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate.request import CostRequest, GateRequest
from bulkhead.gpu_tasks.gate.resampling import Array

MIB = 2**20

_QUANTILES = {"latency_median_ms": 0.5, "latency_p95_ms": 0.95}

_WARM_UP = 5
"""Requests of each model before any is timed: what is loaded, compiled or cached at first is not what clients meet."""

_LEAST_ROUNDS, _MOST_ROUNDS = 40, 500
"""Requests of each model that are timed: with fewer, a 95th percentile is the word of two requests."""

_SECONDS = 20.0
"""So long a batch size is measured, once there are ``_LEAST_ROUNDS``."""


@dataclass(frozen=True)
class Costed:
    """A cost of the candidate.

    Attributes:
        name: one of ``request.COSTS``.
        batch: rows of a request, for latencies; 0 for what does not depend on it.
        candidate: in the unit of its name.
        champion: likewise; None without a champion.
        broken: the limit that it does not keep, for people; empty where it keeps all.
    """

    name: str
    batch: int
    candidate: float
    champion: float | None
    broken: str

    @property
    def key(self) -> str:
        """In the evidence, and of the metric in MLflow."""
        return f"{self.name}_at_{self.batch}" if self.batch else self.name


@dataclass(frozen=True)
class Timing:
    """How long requests took.

    Attributes:
        batch: rows of each.
        times: milliseconds of each, shape (rounds,), of the candidate, and of the champion where there is one: its nth
            came right before or after the candidate's nth.
    """

    batch: int
    times: Sequence[Array]


@dataclass(frozen=True)
class Rival:
    """A model whose cost is measured.

    Attributes:
        uri: from which it can be loaded anew.
        model: loaded by ``mlflow.pyfunc``.
        called: for people.
    """

    uri: str
    model: Any
    called: str


def measure(
    request: GateRequest, features: pd.DataFrame, candidate: Rival, champion: Rival | None
) -> tuple[list[Costed], list[Timing]]:
    """Measure what is asked, and nothing else.

    Args:
        request: what is asked.
        features: rows to answer.
        candidate: it has answered all of them.
        champion: likewise; None for none.

    Returns:
        What was found, and the single requests of which latencies are made.

    Raises:
        GateError: a model does not answer a batch, or does not load in a process of its own.
    """
    timings, costs = [], []
    both = [candidate] if champion is None else [candidate, champion]
    if any(name in _QUANTILES for name in request.cost):
        timings = [_timing(features, size, both) for size in request.batch_sizes]
    for name, asked in request.cost.items():
        if name in _QUANTILES:
            for timing in timings:
                values = [float(np.quantile(times, _QUANTILES[name])) for times in timing.times]
                costs.append(_costed(name, timing.batch, asked, values, both))
        elif name == "memory_mib":
            rows = features.head(max(request.batch_sizes))
            costs.append(_costed(name, 0, asked, [memory(rival, rows) for rival in both], both))
        else:
            costs.append(_costed(name, 0, asked, [size(rival) for rival in both], both))
    return costs, timings


def size(rival: Rival) -> float:
    """Of a model's files, in MiB.

    Args:
        rival: the model.
    """
    stated = getattr(rival.model.metadata, "model_size_bytes", None)
    if stated:
        return float(stated) / MIB
    import mlflow

    with TemporaryDirectory() as folder:
        path = Path(mlflow.artifacts.download_artifacts(rival.uri, dst_path=folder))
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / MIB


def memory(rival: Rival, rows: pd.DataFrame) -> float:
    """The most memory that a process of its own takes to load a model and answer a batch, host and GPU, in MiB.

    Args:
        rival: the model.
        rows: the batch.

    Raises:
        GateError: the process was ended, or the model raised.
    """
    import mlflow

    context = multiprocessing.get_context("spawn")  # a forked one has what this one has loaded
    with ProcessPoolExecutor(1, mp_context=context) as process:
        try:
            return process.submit(_footprint, mlflow.get_tracking_uri(), rival.uri, rows).result()
        except BrokenProcessPool as ended:
            raise GateError(f"{rival.called} cannot be loaded alone: its process was ended, as for memory") from ended
        except Exception as wrong:  # whatever a user's model raises
            raise GateError(f"{rival.called} does not answer alone: {type(wrong).__name__}: {wrong}") from wrong


def _footprint(tracking_uri: str, uri: str, rows: pd.DataFrame) -> float:
    """In a process of its own."""
    import mlflow

    mlflow.set_tracking_uri(tracking_uri)
    mlflow.pyfunc.load_model(uri).predict(rows)
    # Not getrusage's: that goes on from the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    host = int(status["VmHWM"].split()[0]) * 1024
    torch = sys.modules.get("torch")
    device = torch.cuda.max_memory_reserved() if torch is not None and torch.cuda.is_initialized() else 0
    return float(host + device) / MIB


def _timing(features: pd.DataFrame, size: int, rivals: Sequence[Rival]) -> Timing:
    """Time requests of one size, in turns, so that whatever else the machine does meets both models alike."""
    times: list[list[float]] = [[] for _ in rivals]
    batches, begun, rounds = _batches(features, size), time.monotonic(), -_WARM_UP
    while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and time.monotonic() - begun < _SECONDS):
        batch = next(batches)
        for place in sorted(range(len(rivals)), reverse=bool(rounds % 2)):
            taken = _timed(rivals[place], batch)
            if rounds >= 0:
                times[place].append(taken)
        rounds += 1
    return Timing(size, [np.array(milliseconds) for milliseconds in times])


def _timed(rival: Rival, batch: pd.DataFrame) -> float:
    """Milliseconds of one request."""
    begun = time.perf_counter()
    try:
        rival.model.predict(batch)
    except Exception as wrong:  # whatever a user's model raises
        raise GateError(
            f"{rival.called} does not answer {len(batch)} rows at once: {type(wrong).__name__}: {wrong}"
        ) from wrong
    return (time.perf_counter() - begun) * 1000


def _batches(features: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    """Batches of other rows each time, the data over and over, the same at each evaluation."""
    order = np.random.default_rng(0).permutation(len(features))
    begin = 0
    while True:
        yield features.iloc[order[np.arange(begin, begin + size) % len(order)]].reset_index(drop=True)
        begin += size


def _costed(name: str, batch: int, asked: CostRequest, values: Sequence[float], both: Sequence[Rival]) -> Costed:
    """A cost, with the limit that it does not keep."""
    ours, theirs = values[0], values[1] if len(values) > 1 else None
    of_so_many = f" for {batch} row{'s' * (batch > 1)} at once" if batch else ""
    said, broken = f"{name} is {ours:.4g}{of_so_many}", ""
    if asked.at_most is not None and ours > asked.at_most:
        broken = f"{said}, over at_most {asked.at_most:g}"
    elif asked.at_most_times is not None and theirs is not None and ours > asked.at_most_times * theirs:
        times = f"{ours / theirs:.3g}" if theirs else "infinitely many"
        limit = f"over at_most_times {asked.at_most_times:g}"
        broken = f"{said}, {times} times the {theirs:.4g} of {both[1].called}, {limit}"
    return Costed(name, batch, ours, theirs, broken)
