"""Releases with persons and guards."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from bulkhead import DeployOperator, ServingSLOSensor, release

with DAG("release_asked", schedule=None, is_paused_upon_creation=False):
    release(
        "digits",
        "digits",
        plan={
            "steps": [{"weight": 50, "approve": True}, 100],
            "step_s": 8,
            "min_requests": 3,
            "inconclusive_timeout_s": 600,
            # What is tested is not how quick the machine is.
            "latency_ms": 60_000,
            "latency_floor_ms": 60_000,
        },
        evaluate_task_id=None,
        model_version="1",
        serve={"env": {"RUN": "{{ run_id }}"}},
    )

with DAG(
    "release_guarded",
    schedule=None,
    is_paused_upon_creation=False,
    params={"server": Param("", type="string"), "status": Param("200", type="string")},
):
    # Not judged on its way, so that the guard alone finds out.
    deploy = DeployOperator(
        task_id="deploy",
        service="digits",
        model_name="digits",
        evaluate_task_id=None,
        model_version="1",
        plan={"steps": [100], "judged": False},
        serve={
            "command": ["python", "{{ params.server }}", "{port}", "{{ params.status }}", "[7]"],
            "env": {"RUN": "{{ run_id }}"},
        },
    )
    deploy >> ServingSLOSensor(
        task_id="guard", service="digits", objective=0.9, guard=timedelta(seconds=6), deploy_task_id="deploy"
    )
