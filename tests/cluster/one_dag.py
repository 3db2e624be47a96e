"""A DAG of a user's that names no runtime: the very same file runs here and on a cluster."""

from airflow.sdk import DAG

from bulkhead import PodOperator, TrainOperator

TELL = 'printf \'{"version": 1, "result": %s}\' "$1" > "$BULKHEAD_TERMINATION_LOG"'

with DAG("one_dag"):
    common = {
        "image": "{{ var.value.image }}",
        "gpus": 0,
        "user_id": 65534,
        "service_account": "default",
        "image_pull_secrets": ["registry"],
        "memory": "64Mi",
    }
    train = TrainOperator(
        task_id="train",
        command=["sh", "-c", TELL, "sh", '{"model_uri": "models:/m-1", "loss": 0.5}'],
        parameters={"seed": 7},
        experiment="one-dag",
        **common,
    )
    fail = PodOperator(task_id="fail", command=["sh", "-c", "echo no such layer >&2; exit 3"], **common)
    ranks = PodOperator(
        task_id="ranks",
        command=["sh", "-c", f'set -- "{{\\"rank\\": $NODE_RANK, \\"world\\": $WORLD_SIZE}}"; {TELL}'],
        nodes=2,
        torchrun=False,
        **common,
    )
    train >> [fail, ranks]
