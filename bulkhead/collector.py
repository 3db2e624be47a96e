"""The collector: ends pods that no task waits for, from labels and the ledger alone, so that it needs no Airflow.

A launch is written to the ledger before its pod is created. The first to learn that its task is over (the operator
itself, the listener, the collector's DAG, which asks Airflow) says so there; the collector sees to the pod, as often
as it takes. What it does is idempotent, and it may run anywhere and any number of times at once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.ledger.launches import Launches, cluster_key_of
from bulkhead.ledger.tables import Launch
from bulkhead.pods.identity import TaskIdentity
from bulkhead.runtimes.base import TaskRuntime
from bulkhead.runtimes.reach import Connect, reach

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """What became of one launch.

    Attributes:
        pod: name, with its namespace.
        done: whether nothing is left to do about it.
        what: in a few words.
        reason: why no task waits for it.
    """

    pod: str
    done: bool
    what: str
    reason: str


class Collector:
    """Sees to the pods of launches that ended.

    Args:
        connect: gives a client of a cluster.
    """

    def __init__(self, launches: Launches, connect: Connect) -> None:
        self._launches, self._connect = launches, connect
        self._reached: dict[str, TaskRuntime] = {}

    def collect(self) -> Sequence[Collected]:
        """Take one step for every pod that no task waits for.

        One that cannot be reached now does not keep the others waiting; it is tried again by the next pass.

        Returns:
            What became of each.
        """
        self._launches.forget()
        return [self._collect(launch) for launch in self._launches.ended()]

    def orphans(self) -> Sequence[str]:
        """Pods with this project's label beside ours that were never launched from this ledger. They are left alone:
        another installation's, most likely.

        Returns:
            Their names, with their namespaces.
        """
        clusters = {(launch.cluster_key, launch.namespace): launch for launch in self._launches.active()}
        strangers: list[str] = []
        for launch in clusters.values():
            launched = self._launches.pods(launch.access, launch.namespace)
            strangers += self._runtime(launch.access).strangers(launch.namespace, launched)
        return strangers

    def _collect(self, launch: Launch) -> Collected:
        try:
            done, what = self.end(launch)
            if done:
                self._launches.mark_gone(launch.access, launch.namespace, launch.pod, what)
        except BulkheadError as away:
            log.warning("launch %d: %s; the next pass tries again", launch.id, away)
            done, what = False, str(away)
        except Exception as error:  # whatever one launch meets must not keep the others' pods
            log.exception("launch %d: the next pass tries again", launch.id)
            done, what = False, f"{type(error).__name__}: {error}"
        return Collected(f"{launch.namespace}/{launch.pod}", done, what, launch.reason or "")

    def end(self, launch: Launch) -> tuple[bool, str]:
        """Take one step for the pods of one launch.

        Returns:
            Whether nothing is left to do, and what was found or done, in a few words.

        Raises:
            BulkheadError: the cluster cannot be reached, or refuses.
        """
        reason = launch.reason or "no task waits for it"
        own = TaskIdentity(**launch.task).instance_labels()
        runtime = self._runtime(launch.access)
        return runtime.end(launch.kind, launch.pod, launch.namespace, own, launch.keep, reason)

    def _runtime(self, access: Mapping[str, Any]) -> TaskRuntime:
        key = cluster_key_of(access)
        if key not in self._reached:
            self._reached[key] = reach(access, self._connect)
        return self._reached[key]
