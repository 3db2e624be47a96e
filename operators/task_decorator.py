"""``@task.gpu_pod``: a Python function of a DAG that runs in a pod, here or on a cluster."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from bulkhead.errors import InvalidInputError
from bulkhead.gpu_tasks import taskflow
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.templates import check_known
from bulkhead.pods.training import PARAMETERS_VARIABLE

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bulkhead.control import Control

FUNCTION_VARIABLE = "BULKHEAD_FUNCTION"
"""Environment variable that holds the function's source."""

_MOST_BYTES = 100_000
"""Of one variable: Linux takes 128 KiB."""


class GpuPodDecoratedOperator(DecoratedOperator, PodOperator):
    """Calls a Python function in a pod, and returns what it returned. Arguments and result are JSON.

    The function is sent as its source: what it needs it imports inside, as with ``@task.kubernetes``. The image needs a
    Python, and no Airflow.

    Args:
        kwargs: of ``PodOperator``, without ``command``; a function runs in one pod.

    Raises:
        InvalidInputError: an argument is wrong, or of the function's one is no JSON.
    """

    custom_operator_name = "@task.gpu_pod"

    template_fields: Sequence[str] = (
        *("op_args", "op_kwargs"),
        *(field for field in PodOperator.template_fields if field != "command"),
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(command=["python"], **kwargs)
        if self.gang is not None:
            raise InvalidInputError("nodes", self.gang.nodes, "a function runs in one pod: use TrainOperator")
        for number, value in enumerate(self.op_args):
            check_known(_check_json, f"op_args[{number}]", value)
        for name, value in self.op_kwargs.items():
            check_known(_check_json, f"op_kwargs[{name}]", value)

    def argv(self) -> Sequence[str]:
        """See ``PodOperator``."""
        return ["python", "-c", inspect.getsource(taskflow)]

    def variables(self, context: Context, control: Control) -> dict[str, str]:
        """See ``PodOperator``: with the function and its arguments.

        Raises:
            InvalidInputError: an argument is no JSON, or all together are too much.
        """
        arguments = [(f"op_args[{number}]", value) for number, value in enumerate(self.op_args)]
        for field, value in [*arguments, *((f"op_kwargs[{name}]", value) for name, value in self.op_kwargs.items())]:
            _check_json(field, value)
        name = self.python_callable.__name__
        given = json.dumps({"function": name, "args": list(self.op_args), "kwargs": dict(self.op_kwargs)})
        source: str = self.get_python_source()  # type: ignore[no-untyped-call]
        variables = {FUNCTION_VARIABLE: source, PARAMETERS_VARIABLE: given}
        for variable, text in variables.items():
            if (size := len(text.encode())) > _MOST_BYTES:
                remedy = f"at most {_MOST_BYTES} bytes fit; give the name of where it is stored"
                raise InvalidInputError(f"{name}(): {variable}", f"{size} bytes", remedy)
        return {**super().variables(context, control), **variables}

    def completed(self, result: dict[str, Any], context: Context) -> Any:
        """See ``LaunchOperator``: what the function returned."""
        return result.get("return_value")


def gpu_pod_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """What ``@task.gpu_pod`` is.

    Args:
        python_callable: the function.
        multiple_outputs: whether each key of the mapping that it returns is an XCom of its own.
        kwargs: of ``PodOperator``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=GpuPodDecoratedOperator,
        **kwargs,
    )


def _check_json(field: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as wrong:
        remedy = "a pod takes JSON: texts, numbers, lists, mappings, True, False, None"
        raise InvalidInputError(field, value, remedy) from wrong
