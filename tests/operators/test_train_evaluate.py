import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.operators.evaluate import EvaluateOperator
from bulkhead.operators.train import TrainOperator


def test_train_builds_the_command_of_its_pod() -> None:
    operator = TrainOperator(task_id="train", experiment="digits", seed="{{ params.seed }}", fault="flaky")
    assert operator.command == [
        *("python", "-m", "bulkhead.gpu_tasks.train", "--experiment", "digits"),
        *("--seed", "{{ params.seed }}", "--epochs", "30", "--fault", "flaky"),
    ]
    assert "command" in operator.template_fields


@pytest.mark.parametrize(("option", "field"), [("--model-uri", "model_uri"), ("--run-id", "run_id")])
def test_evaluate_takes_the_candidate_from_the_train_task(option: str, field: str) -> None:
    command = list(EvaluateOperator(task_id="evaluate", model_name="digits", train_task_id="fit").command)
    value = command[command.index(option) + 1]
    assert value == "{{ ti.xcom_pull(task_ids='fit')['" + field + "'] }}"


def test_evaluate_passes_its_thresholds_on() -> None:
    command = list(EvaluateOperator(task_id="e", model_name="digits", min_accuracy=0.9, margin=0.01).command)
    assert command[-4:] == ["--min-accuracy", "0.9", "--margin", "0.01"]


@pytest.mark.parametrize("limits", [{"min_accuracy": float("nan")}, {"margin": float("nan")}, {"margin": -0.1}])
def test_a_limit_that_never_binds_is_refused_when_the_dag_is_read(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=rf"{next(iter(limits))} = .*: give a share from 0 to 1"):
        EvaluateOperator(task_id="e", model_name="digits", **limits)
