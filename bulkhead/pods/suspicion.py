"""Which nodes launches stay away from, by what failed there: a pure function of what tasks have said.

A pod says by its own words that its device failed, and a program's bug can say the same. So one pod's word counts for
its own task alone. For others it is a preference, which makes nothing unschedulable, until a second witness says the
same of that node: another DAG, or the device's own readings. Even then it forbids no more than a budget of nodes by
GPU product and node pool, and never the last of them. What one DAG sees on several nodes is its program's doing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

SEVERAL = 3
"""The same failure of one DAG on so many nodes is the program's."""

LEFT = 2
"""So many usable nodes of a product and pool are left, whatever is said of them: of two, none is ever forbidden."""

_MOST = 64
"""Beyond so many nodes a preference says nothing; the latest are kept."""


@dataclass(frozen=True)
class NodeSuspicion:
    """That a task's pod failed by what looked like a fault of its node's device.

    Attributes:
        node: by name.
        owner: the DAG whose task it was; tasks and runs of one DAG are one witness.
        cause: class and kind of the failure, as ``device_fault/ecc``.
        at: when it was said.
        reason: the evidence, for people.
    """

    node: str
    owner: str
    cause: str
    at: datetime
    reason: str = ""


@dataclass(frozen=True)
class Place:
    """A node with GPUs, as the fleet's watch saw it last.

    Attributes:
        product: of its GPUs.
        pool: node pool that it belongs to, or empty where pools are not named.
        usable: whether new pods can go there: its kubelet is ready, it is not cordoned, and not in quarantine.
        doubted: whether the readings of one of its devices speak against it.
    """

    product: str
    pool: str = ""
    usable: bool = True
    doubted: bool = False


@dataclass(frozen=True)
class Avoidance:
    """Where launches should not go.

    Attributes:
        forbidden: nodes that must not be used.
        discouraged: nodes that are used only where no other is free.
        told: why, by node, the oldest reason first; of both.
    """

    forbidden: tuple[str, ...] = ()
    discouraged: tuple[str, ...] = ()
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def avoid(said: Iterable[NodeSuspicion], places: Mapping[str, Place], share: float) -> Avoidance:
    """Where launches should not go.

    Args:
        said: by tasks, within the time for which it counts.
        places: the fleet's nodes by name; of a node that is not among them it is not known what it is the last of, so
            it is never forbidden.
        share: of the usable nodes of one product and pool that may be forbidden at once; one at least.

    Returns:
        The nodes to stay away from; of each product and pool ``LEFT`` stay usable.
    """
    of_node: defaultdict[str, list[NodeSuspicion]] = defaultdict(list)
    for program in _without_programs(said):
        of_node[program.node].append(program)
    allowed = _rooms(places, share)
    forbidden: list[str] = []
    for node in sorted(of_node, key=lambda name: _rank(name, of_node[name], places)):
        place = places.get(node)
        if place is None or not place.usable or not (place.doubted or len(_owners(of_node[node])) > 1):
            continue
        if allowed[place.product, place.pool] > 0:
            allowed[place.product, place.pool] -= 1
            forbidden.append(node)
    others = [node for node in sorted(of_node, key=lambda name: _latest(of_node[name])) if node not in forbidden]
    discouraged = others[-_MOST:]
    reasons = {node: tuple(suspicion.reason for suspicion in of_node[node]) for node in (*forbidden, *discouraged)}
    return Avoidance(tuple(sorted(forbidden)), tuple(sorted(discouraged)), reasons)


def _without_programs(said: Iterable[NodeSuspicion]) -> list[NodeSuspicion]:
    """What remains once each DAG's own bugs are taken away."""
    heard = sorted(said, key=lambda saying: saying.at)
    nodes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for suspicion in heard:
        nodes[suspicion.owner, suspicion.cause].add(suspicion.node)
    return [suspicion for suspicion in heard if len(nodes[suspicion.owner, suspicion.cause]) < SEVERAL]


def _rooms(places: Mapping[str, Place], share: float) -> dict[tuple[str, str], int]:
    """How many nodes may be forbidden, by product and pool."""
    usable = Counter((place.product, place.pool) for place in places.values() if place.usable)
    return {group: min(max(1, int(share * count)), max(0, count - LEFT)) for group, count in usable.items()}


def _rank(name: str, said: Sequence[NodeSuspicion], places: Mapping[str, Place]) -> tuple[bool, int, datetime, str]:
    """Which nodes have the budget first: what a device's readings confirm, then what most DAGs say, then the oldest."""
    place = places.get(name)
    return not (place is not None and place.doubted), -len(_owners(said)), said[0].at, name


def _owners(said: Iterable[NodeSuspicion]) -> set[str]:
    return {suspicion.owner for suspicion in said}


def _latest(said: Sequence[NodeSuspicion]) -> tuple[datetime, str]:
    return said[-1].at, said[-1].node
