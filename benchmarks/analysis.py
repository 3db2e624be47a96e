"""``python -m benchmarks.analysis``: false rollbacks and bad requests served, against the rules that others use.

Streams of a canary and of stable are simulated second by second; every contender reads the same ones. Ours looks each
second. The peers' rules are re-stated at their documented settings, with our limits (1 % failures, 5 % over 250 ms):

- Argo Rollouts 1.9: a measurement a minute, ``failureLimit`` 0, ``consecutiveErrorLimit`` 4; no data is an error.
- Flagger: a check a minute, rollback after 5 failed checks (its documentation's example); no data is a failed check.
- Kayenta: Mann-Whitney over points of 10 s at the end, confidence 0.98, tolerance 0.25; fewer than 50 points here,
  which it would not accept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import Pool
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from bulkhead.rollout.analysis.arms import Arm
from bulkhead.rollout.analysis.judge import StepVerdict, judge
from bulkhead.rollout.plan import Plan

SECONDS, WEIGHT, BASE_ERRORS = 300, 0.1, 0.001
EDGES = (25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
"""Bounds of the latency histogram in ms. A healthy request takes 40 ms in the median, 1 in 100 over 150 (lognormal)."""

PLAN = Plan(steps=(10, 100), alpha=0.01, step_s=SECONDS, min_requests=20, inconclusive_timeout_s=10 * SECONDS)
_MEDIAN_MS, _P99 = 40.0, 150.0
_SIGMA = float(np.log(_P99 / _MEDIAN_MS) / 2.326)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a candidate.

    Attributes:
        errors: share of its requests that fail, at each second.
        slower: factor on each of its latencies.
    """

    errors: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
    slower: float = 1.0


def _steady(share: float) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    return lambda seconds: np.full(len(seconds), share)


def _leak(seconds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return BASE_ERRORS + 0.2 * seconds / SECONDS


FAULTS: Mapping[str, Fault] = {
    "none": Fault(_steady(BASE_ERRORS)),
    "errors x2 (1 % of stable's)": Fault(_steady(0.02)),
    "errors x5 (1 % of stable's)": Fault(_steady(0.05)),
    "errors +50 points": Fault(_steady(BASE_ERRORS + 0.5)),
    "latency x1.5": Fault(_steady(BASE_ERRORS), 1.5),
    "latency x3": Fault(_steady(BASE_ERRORS), 3.0),
    "slow leak": Fault(_leak),
}


@dataclass(frozen=True)
class Stream:
    """Cumulative counts at the end of each second; index 0 is before the first.

    Attributes:
        requests: of candidate and stable, shape (2, seconds + 1).
        failures: likewise.
        above: requests over each of ``EDGES``, shape (2, edges, seconds + 1).
    """

    requests: np.ndarray[Any, Any]
    failures: np.ndarray[Any, Any]
    above: np.ndarray[Any, Any]

    def arm(self, which: int, until: int, since: int = 0) -> Arm:
        """What one of them did in some seconds.

        Args:
            which: 0 for the candidate, 1 for stable.
            until: last second.
            since: second before the first.
        """
        n = int(self.requests[which, until] - self.requests[which, since])
        above = {edge: int(self.above[which, k, until] - self.above[which, k, since]) for k, edge in enumerate(EDGES)}
        failures = int(self.failures[which, until] - self.failures[which, since])
        return Arm(n, failures, n, above[PLAN.latency_ms], above)


def simulate(name: str, rate: float, seed: int) -> Stream:
    """One rollout.

    Args:
        rate: requests a second of the service.
        seed: of the random numbers.
    """
    rng, fault = np.random.default_rng(seed), FAULTS[name]
    seconds = np.arange(1, SECONDS + 1)
    base = 0.01 if "1 % of stable's" in name else BASE_ERRORS
    shares = (fault.errors(seconds), np.full(SECONDS, base))
    requests, failures, above = [], [], []
    for which, share in enumerate((WEIGHT, 1 - WEIGHT)):
        n = rng.poisson(rate * share, SECONDS)
        requests.append(n)
        failures.append(rng.binomial(n, shares[which]))
        above.append(_over_edges(rng, n, fault.slower if which == 0 else 1.0))
    zero = [(0, 0), (1, 0)]
    cumulative = [np.pad(np.cumsum(np.array(counts), axis=1), zero) for counts in (requests, failures)]
    return Stream(cumulative[0], cumulative[1], np.pad(np.cumsum(np.array(above), axis=2), [(0, 0), (0, 0), (1, 0)]))


def _over_edges(rng: np.random.Generator, n: np.ndarray[Any, Any], slower: float) -> list[np.ndarray[Any, Any]]:
    """Requests over each edge: one after the other, given the one before."""
    from scipy.stats import norm

    over = [float(norm.sf(np.log(edge / (_MEDIAN_MS * slower)) / _SIGMA)) for edge in EDGES]
    places, left, before = [], n, 1.0
    for share in over:
        left = rng.binomial(left, min(1.0, share / before) if before > 0 else 0.0)
        places.append(left)
        before = share
    return places


def ours(stream: Stream) -> int | None:
    """The second at which the candidate is failed, or None."""
    for second in range(1, SECONDS + 1):
        judgement = judge(PLAN, PLAN.steps[0], stream.arm(0, second), stream.arm(1, second), second)
        if judgement.verdict is StepVerdict.FAIL:
            return second
    return None


def _breaks_a_limit(seen: Arm) -> bool:
    failing = seen.failures / seen.requests > PLAN.max_error_rate
    return failing or seen.slow / seen.timed > PLAN.max_slow_rate


def argo(stream: Stream) -> int | None:
    """As ``ours``."""
    errors = 0
    for second in range(60, SECONDS + 1, 60):
        seen = stream.arm(0, second, second - 60)
        errors = 0 if seen.requests else errors + 1
        if errors > 4 or (seen.requests and _breaks_a_limit(seen)):
            return second
    return None


def flagger(stream: Stream) -> int | None:
    """As ``ours``."""
    failed = 0
    for second in range(60, SECONDS + 1, 60):
        seen = stream.arm(0, second, second - 60)
        failed += not seen.requests or _breaks_a_limit(seen)
        if failed >= 5:
            return second
    return None


def kayenta(stream: Stream) -> int | None:
    """As ``ours``."""
    for metric in ("failures", "slow"):
        points = []
        for which in (0, 1):
            arms = [stream.arm(which, second, second - 10) for second in range(10, SECONDS + 1, 10)]
            points.append([getattr(arm, metric) / arm.requests for arm in arms if arm.requests])
        candidate, stable = points
        if len(candidate) < 2 or candidate == stable:
            continue
        worse = np.mean(candidate) > np.mean(stable) * 1.25
        if worse and mannwhitneyu(candidate, stable, alternative="two-sided").pvalue < 0.02:
            return SECONDS
    return None


CONTENDERS: Mapping[str, Callable[[Stream], int | None]] = {
    "bulkhead": ours,
    "argo": argo,
    "flagger": flagger,
    "kayenta": kayenta,
}


def rollouts_of(task: tuple[str, float, int]) -> dict[str, tuple[int, int] | None]:
    """One stream through all contenders.

    Args:
        task: name of the fault, requests a second, seed.

    Returns:
        By contender the candidate's requests and bad ones (failed, or slow by the limit) until it was failed; None
        where it was not.
    """
    stream = simulate(*task)
    caught: dict[str, tuple[int, int] | None] = {}
    for name, contender in CONTENDERS.items():
        second = contender(stream)
        seen = stream.arm(0, second) if second is not None else None
        caught[name] = (seen.requests, seen.failures + seen.slow) if seen else None
    return caught


def summary(cases: list[dict[str, tuple[int, int] | None]]) -> dict[str, dict[str, Any]]:
    """By contender: share that it failed, requests and bad requests until then in the median, and the mean of bad
    requests where ours and it both failed the candidate, of each.
    """
    contended = {}
    for name in CONTENDERS:
        caught = [seen for case in cases if (seen := case[name]) is not None]
        both = [(mine[1], theirs[1]) for case in cases if (mine := case["bulkhead"]) and (theirs := case[name])]
        contended[name] = {
            "failed": round(len(caught) / len(cases), 4),
            "requests_p50": float(np.median([seen[0] for seen in caught])) if caught else None,
            "bad_p50": float(np.median([seen[1] for seen in caught])) if caught else None,
            "bad_where_both": np.mean(both, axis=0).round(1).tolist() if both else None,
        }
    return contended


def main() -> None:
    """Run everything and print one JSON line."""
    parser = argparse.ArgumentParser(prog="benchmarks.analysis", description=__doc__)
    parser.add_argument("--healthy", type=int, default=5000)
    parser.add_argument("--faulty", type=int, default=1000, help="of each fault")
    arguments = parser.parse_args()
    rates = np.exp(np.random.default_rng(1).uniform(np.log(2), np.log(500), arguments.healthy))
    results: dict[str, Any] = {}
    with Pool() as pool:
        healthy = [("none", float(rate), seed) for seed, rate in enumerate(rates)]
        results["healthy, 2 to 500 requests/s"] = summary(pool.map(rollouts_of, healthy, chunksize=20))
        print(results, file=sys.stderr, flush=True)
        for fault in FAULTS:
            for rate in (2.0, 20.0, 100.0, 500.0) if fault != "none" else ():
                runs = [(fault, rate, 10_000 + seed) for seed in range(arguments.faulty // 4)]
                results[f"{fault}, {rate:g} requests/s"] = summary(pool.map(rollouts_of, runs, chunksize=20))
                print(fault, rate, results[f"{fault}, {rate:g} requests/s"], file=sys.stderr, flush=True)
    print(json.dumps({"metric": "analysis", "alpha": PLAN.alpha, "seconds": SECONDS, "results": results}))


if __name__ == "__main__":
    main()
