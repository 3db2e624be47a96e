from pathlib import Path

from airflow.sdk import DAG, Param

from bulkhead import EvaluateOperator, TrainOperator

with DAG("PACKAGE_release", schedule=None, params={"c": Param(1.0, type="number")}) as dag:
    train = TrainOperator(
        task_id="train",
        entrypoint="PACKAGE.train:main",
        parameters={"c": "{{ params.c }}"},
        experiment="PACKAGE",
        gpus=0,
        memory="2Gi",
    )
    evaluate = EvaluateOperator(
        task_id="evaluate",
        model_name="PACKAGE",
        data="PACKAGE.data:holdout",
        target="benign",
        training_data="PACKAGE.data:training",
        metrics={
            "accuracy_score": {"at_least": 0.9, "margin": 0.03},
            "PACKAGE.metrics:missed": {"at_most": 0.05, "greater_is_better": False},
        },
        slices=["PACKAGE.data:by_size"],
        checks=str(Path(__file__).parents[1] / "PACKAGE" / "checks.json"),
        gpus=0,
        memory="2Gi",
    )
    train >> evaluate
