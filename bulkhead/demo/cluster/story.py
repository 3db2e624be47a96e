"""The demo in a cluster: the same releases, all by Airflow; the good one while the reconciler's node is drained."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.demo.cluster import nodes
from bulkhead.demo.cluster.manifests import NAMESPACE, SERVING
from bulkhead.demo.cluster.stack import SPARED, ClusterStack
from bulkhead.demo.story import DAG_ID, SERVICE, Story
from bulkhead.demo.summary import Release
from bulkhead.errors import UnavailableError
from bulkhead.ledger.tables import Phase

_REPLICAS = 2
_LAST_FAILED_S = 1.0


@dataclass
class ClusterStory(Story):
    """See ``Story``."""

    stack: ClusterStack

    def start(self) -> None:
        """See ``Story``: the first model is released as all are."""
        stack, progress = self.stack, self.progress
        self.conf = {"replicas": _REPLICAS}
        progress.say("starting PostgreSQL, MLflow, the chart and Airflow in the cluster")
        stack.bring_up(progress)
        progress.wait("Airflow (scheduler, triggerer, dag-processor, api-server)", stack.airflow.healthy)
        progress.wait(f"Airflow to know the DAG {DAG_ID}", lambda: stack.airflow.has_dag(DAG_ID))
        first, _ = self._release("first", {}, at_exposed=self.traffic.start)
        if first.result != Phase.PROMOTED:
            raise UnavailableError(f"the first revision was {first.result}: {first.reason}")
        progress.say(f"service [b]{SERVICE}[/b] is in use: revision {first.revision}, clients ask for digits")

    def good(self) -> Release:
        """See ``Story``; the nodes are as before at its end."""
        try:
            return super().good()
        finally:
            nodes.uncordon(self.stack.core)

    def bad(self) -> Release:
        """See ``Story``; it serves nobody for long after the verdict."""
        release = super().bad()
        late = release.last_failed_s
        self._expect(
            late is not None and late < _LAST_FAILED_S,
            f"the bad release still answered {late} s after the verdict, which is not within {_LAST_FAILED_S:g} s",
        )
        return release

    def _during_good(self) -> None:
        """Drain the node of the reconciler that acts on the service."""
        stack, progress = self.stack, self.progress
        leader = progress.wait("a reconciler that acts on the service", stack.leader)
        node = stack.core.read_namespaced_pod(leader, NAMESPACE).spec.node_name
        if len(nodes.schedulable(stack.core)) > 1:
            nodes.cordon(stack.core, node)
        else:
            progress.say(
                f"[b]there is one node[/b]: {node} is emptied and not cordoned, what is moved comes back to it"
            )
        moved = nodes.evictable(stack.core, node, (NAMESPACE, SERVING), SPARED)
        progress.say(f"node {node} is drained: {leader}, which acts on the service, and {len(moved) - 1} other pods")

        def gone() -> bool | None:
            here = set(nodes.evictable(stack.core, node, (NAMESPACE, SERVING), SPARED))
            left = [pod for pod in moved if pod in here]
            nodes.evict(stack.core, left)
            return None if left else True

        progress.wait(f"node {node} to be empty", gone)

        def successor() -> str | None:
            now = stack.leader()
            return None if now == leader else now

        heir = progress.wait("another reconciler to act on the service", successor)
        progress.say(f"{heir} acts on the service now")
