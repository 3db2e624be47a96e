"""What Airflow's own task runner writes where a task fails; ``tests/e2e`` has it in a whole Airflow."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from bulkhead.errors import BusyError, InvalidInputError, UnavailableError
from bulkhead.operators.ends import PlainError, PlainFailure, in_one_line, refused
from bulkhead.pods import exceptions
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.policy import RULES, FailureAction

# As airflow.sdk.execution_time.task_runner does it: the logger is there before the task is.
PROGRAM = """
import logging, sys
import structlog
from airflow.sdk.log import configure_logging
configure_logging(json_output=True, output=sys.stdout.buffer, sending_to_supervisor=True, log_level=sys.argv[1])
log = structlog.get_logger(logger_name="task")
log.info("it begins")
from bulkhead.operators.ends import PlainFailure, end_plainly
end_plainly()
end_plainly()
for error in (PlainFailure("it is bad,\\nand that is all"), ValueError("a bug")):
    try:
        try:
            raise KeyError("why")
        except KeyError as cause:
            raise error from cause
    except Exception:
        log.exception("Task failed with exception")
"""


def _logged(level: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", PROGRAM, level]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("level") == "error"]


def test_an_end_by_design_is_one_line_of_the_tasks_log_and_a_bug_keeps_its_traceback() -> None:
    design, bug = _logged("INFO")
    assert (
        design["event"] == "it is bad, and that is all" and "error_detail" not in design and "exception" not in design
    )
    assert bug["event"] == "Task failed with exception" and "a bug" in json.dumps(bug) and "KeyError" in json.dumps(bug)


def test_whoever_looks_for_a_bug_of_ours_gets_the_traceback() -> None:
    design, _ = _logged("DEBUG")
    assert design["event"] == "Task failed with exception" and "KeyError" in json.dumps(design)


@pytest.mark.parametrize(
    ("error", "plain"),
    [
        (PlainFailure("x"), True),
        (PlainError("x"), True),
        (refused(InvalidInputError("plan.steps", 7, "give a list")), True),
        (exceptions.error("p", Failure(failure_class=FailureClass.GPU_OOM, message="CUDA out of memory")), True),
        (UnavailableError("the ledger does not answer"), True),
        (AirflowFailException("x"), False),
        (AirflowException("x"), False),
        (ZeroDivisionError("x"), False),
    ],
)
def test_which_errors_say_all(error: Exception, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)
    logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]
    try:
        raise error
    except Exception:  # noqa: BLE001 - as Airflow's task runner does it
        entry = in_one_line(None, "error", {"event": "Task failed", "exc_info": True})
    assert ("exc_info" in entry) is not plain
    assert entry["event"] == (" ".join(str(error).split()) if plain else "Task failed")


def test_other_entries_are_left_as_they_are() -> None:
    try:
        raise PlainFailure("x")
    except PlainFailure:
        assert in_one_line(None, "info", {"event": "beside it"}) == {"event": "beside it"}


def test_they_are_airflows_own_kinds() -> None:
    assert issubclass(PlainFailure, AirflowFailException)  # no retry
    assert issubclass(PlainError, AirflowException) and not issubclass(PlainError, AirflowFailException)
    assert not issubclass(PlainError, AirflowSkipException)


def test_what_no_other_try_would_mend_says_what_a_person_does() -> None:
    said = str(exceptions.error("p", Failure(failure_class=FailureClass.GATE, message="accuracy 0.9 is under 0.97")))
    assert said.startswith("pod p failed (gate): accuracy 0.9 is under 0.97; next: train again")
    final = {named for (named, kind), rule in RULES.items() if not kind and rule.action is FailureAction.FAIL}
    assert {named for named, kind in exceptions.TYPES.items() if kind.remedy} == final - {FailureClass.CANCELLED}


def test_a_refusal_says_that_nothing_was_changed() -> None:
    said = str(refused(BusyError("service 'digits' has rollout 4 in progress", 4, "k")))
    assert said == "Refused, and nothing was changed: service 'digits' has rollout 4 in progress."
