"""Who owns a pod: names and labels that follow from the task instance, so that a retry finds its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bulkhead.text import identifier

LABEL_PREFIX = "bulkhead.dev/"
"""Prefix of every label and annotation that this project sets."""

MANAGED = LABEL_PREFIX + "managed"
"""Label of every pod that this project makes; its value is ``true``."""

GENERATION = LABEL_PREFIX + "generation"
"""Annotation that carries the fence under which an object was written."""

DAG_RUN = "airflow:"
"""In front of the name of every owner in the ledger that is a DAG run."""

SEQUENCE = LABEL_PREFIX + "sequence"
"""Annotation that orders the writes of one generation, where there are several."""


# Airflow's ids have up to 250 characters each, so those of ASCII are never shortened. What the ledger makes of them
# adds words of its own, and has to fit 1,024 bytes.
_OWNER_BYTES = 600
_INSTANCE_BYTES = 880


@dataclass(frozen=True)
class TaskIdentity:
    """One task instance of one DAG run.

    Attributes:
        dag_id: the DAG.
        run_id: the DAG run.
        task_id: the task.
        map_index: index of a mapped task, -1 where it is not mapped.
        clear_number: changes when, and only when, the task instance is cleared. Airflow's
            ``max_tries`` is such a number: clearing raises it, retrying does not.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    clear_number: int = 0

    @property
    def owner(self) -> str:
        """The DAG run, as the ledger names it."""
        return run_owner(self.dag_id, self.run_id)

    @property
    def instance(self) -> str:
        """The task instance, whatever its clear number, as the ledger names it."""
        return identifier(f"{self.owner}/{self.task_id}/{self.map_index}", _INSTANCE_BYTES)

    @property
    def key(self) -> str:
        """Idempotency key: the same over retries, another after a clear."""
        return f"{self.instance}#{self.clear_number}"

    @property
    def folder(self) -> str:
        """A relative path of its own for what is to outlive its pods: readable, and the same whatever its clear
        number."""
        return f"{_label(self.dag_id)}/{_label(self.run_id)}/{_label(self.task_id)}-{_digest(self.instance)}"

    def earlier(self, key: str) -> bool:
        """Whether a key is of this task instance before it was cleared.

        Args:
            key: of any task instance.
        """
        return key != self.key and self.owns(key)

    def owns(self, key: str) -> bool:
        """Whether a key is of this task instance, whatever its clear number.

        Args:
            key: of any task instance.
        """
        return key.rpartition("#")[0] == self.instance

    def instance_labels(self) -> dict[str, str]:
        """Kubernetes labels that select every pod of this task instance, whatever its clear number."""
        return {
            **run_labels(self.owner),
            LABEL_PREFIX + "dag": _label(self.dag_id),
            LABEL_PREFIX + "task": _label(self.task_id),
            LABEL_PREFIX + "instance": _digest(self.instance),
        }

    def labels(self) -> dict[str, str]:
        """Kubernetes labels that select every pod of the same clear number (values are hashed to fit 63 characters)."""
        return {**self.instance_labels(), LABEL_PREFIX + "clear-number": _digest(self.key)}

    def pod_name(self, try_number: int, prefix: str | None = None) -> str:
        """A DNS-1123 name of at most 63 characters, unique for the clear number and try.

        Args:
            try_number: Airflow's, from 1.
            prefix: of the author's; by default the task's id.
        """
        return f"{_label(prefix or self.task_id)[:32].strip('-')}-{_digest(self.key)}-{try_number}"

    def named(self, pod: str) -> bool:
        """Whether a pod has a name of the same clear number, whichever its try.

        Args:
            pod: name of any pod, or of a job of pods.
        """
        return pod.rpartition("-")[0].endswith(f"-{_digest(self.key)}")


def run_owner(dag_id: str, run_id: str) -> str:
    """A DAG run, as the ledger names it."""
    return identifier(f"{DAG_RUN}{dag_id}/{run_id}", _OWNER_BYTES)


def run_of(owner: str) -> tuple[str, str] | None:
    """The DAG's and the run's id of an owner in the ledger; None for an owner that is no DAG run.

    Args:
        owner: of a rollout. Where ``run_owner`` had to shorten it, the run's id is as it was shortened.
    """
    # A DAG's id has no slash; a run's may.
    dag_id, slash, run_id = owner.removeprefix(DAG_RUN).partition("/")
    return (dag_id, run_id) if owner.startswith(DAG_RUN) and slash else None


def run_labels(owner: str) -> dict[str, str]:
    """Kubernetes labels that select every pod of a DAG run.

    Args:
        owner: the DAG run, see ``run_owner``.
    """
    return {LABEL_PREFIX + "run": _digest(owner)}


def matches(labels: Mapping[str, str] | None, selector: Mapping[str, str]) -> bool:
    """Whether labels satisfy an equality selector.

    Args:
        labels: an object's labels, or None.
        selector: what each named label must equal.
    """
    return all((labels or {}).get(key) == value for key, value in selector.items())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _label(text: str) -> str:
    slug = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-") or "x"
    return slug if len(slug) <= 63 else f"{slug[:50].rstrip('-')}-{_digest(text)}"
