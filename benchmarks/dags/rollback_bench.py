"""What ``benchmarks.rollback`` releases: one deploy task that stays at 10 % until something takes its release back."""

from airflow.sdk import DAG, Param

from bulkhead import DeployOperator

with DAG(
    "rollback_bench",
    schedule=None,
    is_paused_upon_creation=False,
    params={"number": Param("0", type="string"), "server": Param("", type="string")},
):
    DeployOperator(
        task_id="deploy",
        service="digits",
        model_name="digits",
        evaluate_task_id=None,
        model_version="1",
        # Failures are what is timed: how quick the machine answers must not roll anything back first.
        plan={
            "steps": [10, 100],
            "step_s": 600,
            "inconclusive_timeout_s": 1200,
            "drain_s": 2,
            "latency_ms": 60_000,
            "latency_floor_ms": 60_000,
        },
        serve={"command": ["python", "{{ params.server }}", "{port}"], "env": {"NUMBER": "{{ params.number }}"}},
    )
