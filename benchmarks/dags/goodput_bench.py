"""What ``benchmarks.goodput`` runs: one training of the byte-level GPT, by two ranks on CPUs."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from bulkhead import PodOperator

WORDS = 7
"""Of ``benchmarks.goodput.arguments``, which says what is trained."""

arguments = [f"{{{{ params.arguments[{number}] }}}}" for number in range(WORDS)]

with DAG(
    "goodput_bench",
    schedule=None,
    is_paused_upon_creation=False,
    params={"arguments": Param([""] * WORDS, type="array", minItems=WORDS, maxItems=WORDS)},
):
    PodOperator(
        task_id="train",
        nodes=1,
        processes_per_node=2,
        gpus=0,
        restarts=4,
        checkpoint="/checkpoints",
        command=["--preload=mlflow", "-m", "bulkhead.gpu_tasks.train_gpt", *arguments],
        deadline=timedelta(hours=1),
    )
