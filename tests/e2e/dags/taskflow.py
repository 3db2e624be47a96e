"""Functions in pods, between tasks of Airflow's own."""

from datetime import timedelta

from airflow.sdk import DAG, task

SOON = timedelta(seconds=1)  # see faults.py

with DAG("taskflow", schedule=None, is_paused_upon_creation=False):

    @task
    def numbers() -> list[int]:
        return [1, 2, 3]

    @task.gpu_pod(gpus=0, retry_delay=SOON, multiple_outputs=True)
    def describe(values: list[int], run: str) -> dict[str, object]:
        import os

        return {"sum": sum(values), "run": run, "in_airflow": "AIRFLOW_HOME" in os.environ}

    @task
    def use(total: int) -> int:
        return total + 1

    use(describe(numbers(), run="{{ run_id }}")["sum"])
