"""DAGs to which the tests do harm."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from bulkhead import DeployOperator, PodOperator

# On SQLite, Airflow gives the id of a trigger that is gone to the next one: the late event of a cleared task's trigger
# may resume its next try, which Airflow then takes for one that somebody has killed, and tries again: soon, here.
SOON = timedelta(seconds=1)

with DAG("sleeper", schedule=None, is_paused_upon_creation=False):
    PodOperator(task_id="sleep", command=["python", "-c", "import time; time.sleep(600)"], gpus=0, retry_delay=SOON)

# Until a file is where it works: not by a clock, which does not wait for a test.
COUNTED = """
import pathlib, time
print("counted once", flush=True)
while not pathlib.Path("end").exists():
    time.sleep(0.1)
"""

with DAG("counter", schedule=None, is_paused_upon_creation=False):
    PodOperator(
        task_id="count",
        command=["python", "-c", COUNTED],
        gpus=0,
        retries=1,
        retry_delay=SOON,
    )

with DAG(
    "release_again",
    schedule=None,
    is_paused_upon_creation=False,
    params={"model_version": Param("1", type="string"), "service": Param("digits", type="string")},
):
    # No traffic comes, so that it stays in its first step until somebody ends it.
    DeployOperator(
        task_id="deploy",
        service="digits",
        model_name="digits",
        evaluate_task_id=None,
        model_version="{{ params.model_version }}",
        plan={"steps": [10, 100], "inconclusive_timeout_s": 600},
        serve={"env": {"RUN": "{{ run_id }}"}},
    )
