import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.events import EventKind
from bulkhead.gate_overrides import GateOverride, override
from bulkhead.gpu_tasks.gate.request import GateRequest
from bulkhead.operators.evaluate import EvaluateOperator
from bulkhead.operators.hooks import BulkheadHook

pytestmark = pytest.mark.usefixtures("control")

GATE: dict[str, Any] = {
    "model_name": "churn",
    "data": "s3://bucket/{{ ds }}.parquet",
    "target": "churned",
    "metrics": {"f1_score": {"at_least": 0.7, "margin": 0.02}},
    "slices": ["region"],
}


class Pulled:
    """A task instance that knows what another task returned."""

    def __init__(self, **returned: Any) -> None:
        self.returned = returned

    def xcom_pull(self, task_ids: str) -> Any:
        return self.returned.get(task_ids)


def _launched(operator: EvaluateOperator, **returned: Any) -> list[str]:
    """The command that is launched, once templates are rendered."""
    context: Any = {"ti": Pulled(**returned), "ds": "2026-11-30"}
    operator.render_template_fields(context)
    return list(operator.argv())


def test_evaluate_takes_the_candidate_from_the_train_task() -> None:
    operator = EvaluateOperator(task_id="evaluate", train_task_id="fit", **GATE)
    command = _launched(operator, fit={"model_uri": "models:/m-1f", "run_id": "r"})
    assert command[:5] == ["python", "-m", "bulkhead.gpu_tasks.evaluate", "--model-uri", "models:/m-1f"]
    assert command[5] == "--request"
    expected = GateRequest.model_validate({**GATE, "data": "s3://bucket/2026-11-30.parquet"})
    assert GateRequest.model_validate_json(command[6]) == expected


def test_or_from_where_the_author_says() -> None:
    operator = EvaluateOperator(task_id="evaluate", candidate="models:/churn/{{ ds[:4] }}", **GATE)
    assert "models:/churn/2026" in _launched(operator)


def test_a_persons_word_about_this_very_model_goes_with_the_request() -> None:
    now = datetime.now(UTC)
    events = BulkheadHook().control().ledger.events
    for model, reason in (("models:/m-1", "old"), ("models:/m-1", "new"), ("models:/m-2", "another")):
        word = override("ada", reason, now, now + timedelta(hours=1)).model_dump(mode="json")
        events.record(None, EventKind.GATE_OVERRIDE, {"models": ["models:/churn/7", model], **word})
    command = _launched(EvaluateOperator(task_id="e", candidate="models:/m-1", **GATE))
    assert command[-2] == "--override" and GateOverride.model_validate_json(command[-1]).reason == "new"
    assert "--override" not in _launched(EvaluateOperator(task_id="e", candidate="models:/m-3", **GATE))


@pytest.mark.parametrize("returned", [None, {}, {"model_uri": ""}])
def test_a_train_task_that_names_no_model_is_told_by_its_name(returned: Any) -> None:
    operator = EvaluateOperator(task_id="evaluate", train_task_id="fit", **GATE)
    with pytest.raises(InvalidInputError, match=r"model_uri of task fit = '': let it return one, or give candidate"):
        _launched(operator, fit=returned)


def test_what_a_template_turns_out_to_be_is_checked_before_the_pod() -> None:
    operator = EvaluateOperator(task_id="e", candidate="models:/m-1", **{**GATE, "data": "{{ ds }}.xlsx"})
    with pytest.raises(InvalidInputError, match=r"data = '2026-11-30.xlsx': give a file that ends in .parquet or "):
        _launched(operator)


def test_the_request_is_json_that_its_program_reads() -> None:
    command = _launched(EvaluateOperator(task_id="e", candidate="models:/m-1", **GATE))
    asked = json.loads(command[-1])["metrics"]["f1_score"]
    assert (asked["at_least"], asked["at_most"], asked["margin"]) == (0.7, None, 0.02)


def test_a_mistake_beside_a_template_is_told_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidInputError, match=r"metrics.f1_score.margin = -1: "):
        EvaluateOperator(task_id="e", **{**GATE, "metrics": {"f1_score": {"margin": -1}}})
