"""Release a digits classifier: train, evaluate, deploy. What the demo runs.

Params:
    seed: of the training.
    epochs: of the training.
    fault: ``flaky`` trains a model that passes every check and fails under live traffic.
    min_requests: requests that the candidate must answer at each step; a number that never comes makes a
        release hang in the middle of its rollout, until its deadline.
    replicas: servers of the model; on one machine there is one.
    deadline_s: seconds after which the run has missed its deadline and its release is rolled back.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, DeadlineAlert, Param

from bulkhead import DeployOperator, EvaluateOperator, RunParamDeadline, TrainOperator, rollback_on_deadline

with DAG(
    dag_id="digits_release",
    description="Train, evaluate and deploy a digits classifier; a bad release is rolled back by itself",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    doc_md=__doc__,
    params={
        "seed": Param(0, type="integer", minimum=0),
        "epochs": Param(30, type="integer", minimum=1, maximum=1000),
        "fault": Param("none", type="string", enum=["none", "flaky"]),
        "min_requests": Param(20, type="integer", minimum=1),
        "replicas": Param(1, type="integer", minimum=1, maximum=100),
        "deadline_s": Param(900, type="integer", minimum=10),
    },
    deadline=DeadlineAlert(
        name="release",
        reference=RunParamDeadline("deadline_s", 900),
        interval=timedelta(0),
        callback=rollback_on_deadline(reason="the release missed its deadline"),
    ),
) as dag:
    train = TrainOperator(
        task_id="train",
        entrypoint="bulkhead.gpu_tasks.train:train",
        parameters={"seed": "{{ params.seed }}", "epochs": "{{ params.epochs }}", "fault": "{{ params.fault }}"},
        experiment="digits",
        checkpoint="/checkpoints",
        claims={"/checkpoints": "checkpoints"},
        cpu="1",
        memory="4Gi",
        deadline=timedelta(minutes=15),
    )
    evaluate = EvaluateOperator(
        task_id="evaluate",
        model_name="digits",
        data="bulkhead.gpu_tasks.digits:holdout",
        target="label",
        training_data="bulkhead.gpu_tasks.digits:training",
        metrics={"accuracy_score": {"at_least": 0.97, "margin": 0.02}},
        checks="bulkhead.gpu_tasks.data_checks:digits_suite",
        cpu="1",
        memory="4Gi",
        deadline=timedelta(minutes=10),
    )
    deploy = DeployOperator(
        task_id="deploy",
        service="digits",
        model_name="digits",
        plan={
            "steps": [10, 50, 100],
            "step_s": 5,
            "min_requests": "{{ params.min_requests }}",
            # One process on a laptop that also runs Airflow and trains: less would judge the laptop, which now and then
            # stops one process for half a second and with it twenty requests.
            "latency_ms": 5000,
            "latency_floor_ms": 5000,
        },
        serve={"gpus": 1, "memory": "4Gi", "replicas": "{{ params.replicas }}"},
    )
    train >> evaluate >> deploy
