"""Names of what serves a revision on a machine or in a cluster, and from a pod's name back to its revision."""

from __future__ import annotations

from collections.abc import Iterable

SERVER, COMPARER = "serve-", "compare-"
"""In front of a revision's id."""

_GENERATED_FROM = 58
"""Kubernetes keeps so many characters of a name when it generates a pod's name of it, and adds five of its own
(k8s.io/apiserver/pkg/storage/names)."""


def server_name(revision_id: str) -> str:
    """Of a revision's pod on one machine; of its Deployment, Service and PodDisruptionBudget on Kubernetes."""
    return SERVER + revision_id


def comparer_name(candidate: str) -> str:
    """Of the same objects of the comparer of a candidate's answers."""
    return COMPARER + candidate


class RevisionsOfPods:
    """Which of some revisions a pod serves, by its name.

    Args:
        revision_ids: of the revisions.
    """

    def __init__(self, revision_ids: Iterable[str]) -> None:
        # A Deployment's pods are named after the server, those of KServe and of a LeaderWorkerSet after the revision.
        self._by_name = {
            name[:_GENERATED_FROM]: revision for revision in revision_ids for name in (server_name(revision), revision)
        }

    def find(self, pod: str) -> str | None:
        """The revision that a pod serves.

        Args:
            pod: as ``namespace/name``. What owns it adds parts to the name, each with a dash before it.

        Returns:
            Its id; None where the pod serves none of them.
        """
        name = pod.rpartition("/")[2][:_GENERATED_FROM]
        while name:
            if (revision := self._by_name.get(name)) is not None:
                return revision
            name = name.rpartition("-")[0]
        return None
