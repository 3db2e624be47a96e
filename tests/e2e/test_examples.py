"""The examples that users copy, under a real scheduler: a table's model, and a language model in a shadow."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead.events import EventKind
from bulkhead.ledger.tables import Phase
from bulkhead.pods.identity import run_owner
from tests.e2e.conftest import EXAMPLES, Kept

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("examples_begun")]

_REQUEST = json.dumps({"dataframe_split": {"columns": ["context"], "data": [["def main(argv"]]}}).encode()


class Readers:
    """Somebody who asks what comes next, one request after the other. Attributes: answers (probabilities)."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = url, threading.Event()
        self.answers: list[list[float]] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask nothing more."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _ask(self) -> None:
        headers = {"Content-Type": "application/json"}
        while not self._stop.wait(0.05):
            try:
                with urllib.request.urlopen(urllib.request.Request(self._url, _REQUEST, headers), timeout=60) as answer:
                    self.answers.append(json.load(answer)["predictions"][0])
            except (urllib.error.URLError, ConnectionError):  # before there is a model
                time.sleep(0.2)


@pytest.fixture
def readers(kept: Kept) -> Iterator[Readers]:
    made = Readers(f"http://127.0.0.1:{kept.control.settings.ports['gpt'].port}/invocations")
    yield made
    made.stop()


def _evidence(kept: Kept, dag_id: str, run_id: str) -> Any:
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/evaluate/xcomEntries/return_value"
    return kept.airflow.call("GET", path)["value"]


def test_the_project_that_is_laid_down_runs_as_it_is(kept: Kept) -> None:
    kept.task("tumours_release", "first", "evaluate", "success")
    evidence = _evidence(kept, "tumours_release", "first")
    assert evidence["accuracy_score"] > 0.9 and evidence["missed"] <= 0.05 and evidence["training_overlap"] == 0
    assert evidence["training_data"].startswith("tumours@")


def test_a_language_model_is_released_behind_a_shadow(kept: Kept, readers: Readers) -> None:
    passed = {}
    for run_id in ("first", "second"):
        if run_id == "second":
            kept.start("gpt_release", run_id, EXAMPLES["gpt_release"])
        kept.task("gpt_release", run_id, "deploy", "success")
        [rollout] = kept.control.ledger.rollouts.latest("gpt", run_owner("gpt_release", run_id))
        assert rollout.phase is Phase.PROMOTED
        events = kept.control.ledger.events.select(rollout.id, EventKind.PASSED)
        passed[run_id] = [event.data["step"] for event in events]
    first, second = (_evidence(kept, "gpt_release", run_id) for run_id in ("first", "second"))
    assert 1 < first["perplexity"] < 40 and first["champion"].startswith("none")
    assert second["champion"] == "version 1" and abs(second["perplexity_difference"]) < 2
    assert readers.answers and all(len(one) == 256 and abs(sum(one) - 1) < 1e-3 for one in readers.answers)
    assert passed["first"] == [{"weight": 100}]  # with nothing to compare it with
    assert passed["second"] == [{"mirror": 100, "step_s": 10}, {"weight": 50}, {"weight": 100}]
