"""The benchmark measures what it says."""

import numpy as np
import pytest

from benchmarks.analysis import CONTENDERS, FAULTS, SECONDS, rollouts_of, simulate, summary


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_has_the_shares_that_it_was_asked_for(fault: str) -> None:
    stream = simulate(fault, 2000, 1)
    candidate, stable = stream.arm(0, SECONDS), stream.arm(1, SECONDS)
    assert candidate.requests / (candidate.requests + stable.requests) == pytest.approx(0.1, abs=0.005)
    asked = float(np.mean(FAULTS[fault].errors(np.arange(1, SECONDS + 1))))
    assert candidate.failures / candidate.requests == pytest.approx(asked, rel=0.3)
    assert stable.above[250.0] / stable.requests < 0.005
    longer = candidate.above[100.0] / candidate.requests > 1.5 * stable.above[100.0] / stable.requests
    assert longer is (FAULTS[fault].slower > 1)


def test_it_is_the_same_stream_for_the_same_seed() -> None:
    assert rollouts_of(("errors +50 points", 100.0, 5)) == rollouts_of(("errors +50 points", 100.0, 5))


def test_an_outright_failure_is_caught_by_all_and_by_ours_first() -> None:
    found = [rollouts_of(("errors +50 points", 100.0, seed)) for seed in range(5)]
    message = summary(found)
    assert all(message[name]["failed"] == 1 for name in CONTENDERS)
    assert all(
        message["bulkhead"]["requests_p50"] < message[name]["requests_p50"] for name in CONTENDERS if name != "bulkhead"
    )


def test_no_traffic_ends_a_rollout_of_the_others_and_not_ours() -> None:
    stream = simulate("none", 0.0, 1)
    caught = {name: contender(stream) is not None for name, contender in CONTENDERS.items()}
    assert caught == {"bulkhead": False, "argo": True, "flagger": True, "kayenta": False}
