"""The demo on this machine: how it begins."""

from __future__ import annotations

import json
from dataclasses import dataclass

from bulkhead.demo.stack import LocalStack
from bulkhead.demo.story import DAG_ID, MODEL, SERVICE, Story
from bulkhead.errors import UnavailableError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.pods.secret_ref import SecretRef
from bulkhead.pods.spec import PodRequest, build
from bulkhead.pods.training import PARAMETERS_VARIABLE
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.revision import RevisionSpec

_FIRST = Plan(step_s=1, latency_ms=5000, latency_floor_ms=5000)  # as dags/digits_release.py has it, and why


@dataclass
class LocalStory(Story):
    """See ``Story``."""

    stack: LocalStack

    def start(self) -> None:
        """See ``Story``; the first model is trained while Airflow starts."""
        stack, progress = self.stack, self.progress
        progress.say("starting MLflow, Envoy and Airflow; preparing Airflow's database")
        stack.bring_up(progress)
        self._baseline()
        progress.wait("Airflow (scheduler, triggerer, dag-processor, api-server)", stack.airflow.healthy)
        progress.wait(f"Airflow to know the DAG {DAG_ID}", lambda: stack.airflow.has_dag(DAG_ID))

    def _during_good(self) -> None:
        """See ``Story``: on one machine there is nothing to move to."""

    def _baseline(self) -> None:
        stack, progress = self.stack, self.progress
        stack.control.runtime.launch(build(self._training("baseline", epochs=4)))
        runtime = stack.control.runtime
        status = progress.wait(
            "a first model (trained for a few epochs only)",
            lambda: now if (now := runtime.status("baseline")).ended else None,
        )
        if status.phase != "Succeeded":
            raise UnavailableError(
                f"the first model was not trained: {status.outcome.failure}; {runtime.read_log('baseline')}"
            )
        image = stack.settings.tasks_image
        revision = RevisionSpec(SERVICE, MODEL, str(status.outcome.result["model_uri"]), image, {"gpus": 1})
        rollout = stack.control.commands.release(revision, _FIRST, Request("demo/baseline", "", "demo"), owner="demo")
        self._wait_for(rollout, lambda now: now.exposed_at is not None, "the first revision to serve")
        self.traffic.start()
        done = self._wait_for(rollout, lambda now: now.phase.ended, "the first revision to be judged")
        if done.phase is not Phase.PROMOTED:
            raise UnavailableError(f"the first revision was {done.phase}: {done.reason}")
        progress.say(f"service [b]{SERVICE}[/b] is in use: revision {done.revision_id}, clients ask for digits")

    def _training(self, name: str, epochs: int) -> PodRequest:
        command = ["python", "-m", "bulkhead.gpu_tasks.entrypoint", "bulkhead.gpu_tasks.train:train"]
        return PodRequest(
            name=name,
            image=self.stack.settings.tasks_image,
            command=command,
            gpus=1,
            env={
                "MLFLOW_TRACKING_URI": self.stack.settings.mlflow_tracking_uri,
                "MLFLOW_EXPERIMENT_NAME": MODEL,
                PARAMETERS_VARIABLE: json.dumps({"epochs": epochs}),
            },
            secret_env={name: SecretRef(*at) for name, at in self.stack.control.backends.local_credentials().items()},
        )
