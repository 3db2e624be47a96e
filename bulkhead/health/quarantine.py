"""What becomes of unhealthy devices: a quarantine within the budget, a diagnostic, probation, and back to work."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bulkhead.errors import BulkheadError, ConflictError, FencedError, UnavailableError
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, NodeVerdict
from bulkhead.ledger.quarantines import QuarantineBudget, Quarantines, Target
from bulkhead.ledger.tables import Quarantine, QuarantinePhase
from bulkhead.runtimes.kubernetes.nodes import NodeCordons
from bulkhead.settings import FleetSettings
from bulkhead.text import bounded

log = logging.getLogger(__name__)

_SEEN_S = 120.0
"""A device whose last reading is older, in seconds, is not seen."""


@dataclass
class QuarantineChanges:
    """What one step did.

    Attributes:
        started: quarantines that began, or began again.
        moved: targets that went on, with the phase.
        refused: targets that the budget leaves at work, with the reason: a person is needed.
        failed: nodes that could not be written, and targets that could not be judged, with the reason; they are tried
            again.
    """

    started: list[Quarantine] = field(default_factory=list)
    moved: dict[str, QuarantinePhase] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, other: QuarantineChanges) -> None:
        """Add what a later step did."""
        self.started += other.started
        self.moved.update(other.moved)
        self.refused, self.failed = other.refused, other.failed


class QuarantineController:
    """Makes the ledger follow the verdicts, and the cluster the ledger. Any number may run.

    Args:
        nodes: keeps work away from nodes; None where there is no cluster, and quarantines are on paper.
        holder: who this is, for the record.
    """

    def __init__(
        self, quarantines: Quarantines, settings: FleetSettings, nodes: NodeCordons | None, holder: str
    ) -> None:
        self._quarantines, self._settings = quarantines, settings
        self._nodes, self._holder = nodes, holder

    def step(self, assessment: Assessment) -> QuarantineChanges:
        """Take one step.

        Returns:
            What it did.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        done = QuarantineChanges()
        for row in self._quarantines.open_ones():
            with _contained(row.target, done):
                self._go_on(row, assessment, done)
        if self._settings.quarantine:
            for target, verdict in _unhealthy(assessment):
                with _contained(target.name, done):
                    self._start(target, verdict, assessment, done)
        return self.show(done)

    def show(self, done: QuarantineChanges | None = None) -> QuarantineChanges:
        """Have the cluster show what the ledger says, of each node by all of its quarantines.

        Args:
            done: is added to; a new one by default.

        Returns:
            What was done.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        done = done or QuarantineChanges()
        fences = self._quarantines.generations()
        held = {row.node: row for row in self._quarantines.held()}  # the latest is told
        unapplied = self._quarantines.unapplied()
        for node in sorted({row.node for row in unapplied} | set(held)):
            of_node = [row for row in unapplied if row.node == node]
            try:
                self._show_node(node, held.get(node), of_node, fences[node])
            except FencedError as error:  # there is a later quarantine: the next poll sees it too
                log.info("%s", error)
            except BulkheadError as error:
                log.warning("node %s: %s", node, error)
                done.failed[node] = str(error)
            except Exception as error:  # whatever one node meets must not keep the others from being shown
                log.exception("node %s", node)
                done.failed[node] = f"{type(error).__name__}: {error}"
        return done

    def _start(
        self, target: Target, verdict: DeviceVerdict | NodeVerdict, assessment: Assessment, done: QuarantineChanges
    ) -> None:
        of_model = sum(device.device.model == target.model for device in assessment.devices.values())
        budget = QuarantineBudget(self._settings.budget(of_model), _pool_others(target, assessment))
        try:
            row = self._quarantines.start(
                target,
                reason=str(verdict.reason),
                evidence=verdict.text,
                action=str(verdict.action),
                holder=self._holder,
                probation_s=self._settings.probation_s,
                evidence_at=_time(verdict.evidence_at),
                budget=budget,
            )
        except ConflictError as error:
            log.error("a person is needed: %s", error)
            done.refused[target.name] = str(error)
            self._quarantines.refused(target.name, str(error))
            return
        if row.applied_phase is not row.phase and row.phase.holds:
            done.started.append(row)

    def _go_on(self, row: Quarantine, assessment: Assessment, done: QuarantineChanges) -> None:
        verdict = assessment.devices.get(row.target) or assessment.nodes.get(row.target)
        unhealthy = verdict is not None and verdict.health is Health.UNHEALTHY
        evidence_at = _time(verdict.evidence_at) if verdict is not None and unhealthy else None
        phase, why = None, ""
        if row.phase is QuarantinePhase.HELD:
            answered = row.passed_at is not None and (evidence_at is None or evidence_at < row.passed_at)
            if answered and _is_seen(verdict):  # what no source shows has not come back, whatever passed
                phase, why = QuarantinePhase.PROBATION, "a diagnostic has passed, and nothing has come since"
        elif row.phase is QuarantinePhase.PROBATION and (evidence_at is None or evidence_at <= row.phase_at):
            over = (_time(assessment.at) - row.phase_at).total_seconds() >= row.probation_s
            if over:
                phase, why = QuarantinePhase.ENDED, f"its probation of {row.probation_s:.0f} s is over"
        if phase is not None and self._quarantines.move(row, phase, why):
            done.moved[row.target] = phase

    def _show_node(self, node: str, held: Quarantine | None, unapplied: Sequence[Quarantine], generation: int) -> None:
        if self._nodes is not None:
            if held is None:
                self._nodes.uncordon(node, generation)
            elif unapplied or not self._nodes.is_cordoned(node):
                self._nodes.cordon(node, generation, f"{held.target}: {held.evidence}", held.holder)
            if held is not None:
                self._clear(node, held)
        for row in unapplied:
            self._quarantines.mark_applied(row)

    def _clear(self, node: str, held: Quarantine) -> None:
        policy, age_s = self._settings.pods, (datetime.now(UTC) - held.phase_at).total_seconds()
        if self._nodes is None or policy == "leave" or (policy == "drain" and age_s < self._settings.grace_s):
            return
        for pod in self._nodes.drain(node, force=policy == "kill"):
            log.warning("node %s is in quarantine: pod %s was told to end", node, pod)


@contextmanager
def _contained(target: str, done: QuarantineChanges) -> Iterator[None]:
    """An error about one target is that target's alone; a ledger that does not answer is everybody's."""
    try:
        yield
    except UnavailableError:
        raise
    except Exception as error:
        log.exception("%s could not be judged or kept away from work", target)
        done.failed[target] = bounded(f"{type(error).__name__}: {error}")


def _is_seen(verdict: DeviceVerdict | NodeVerdict | None) -> bool:
    """Whether a source shows a device, or a node, at the moment."""
    if verdict is None or verdict.health is Health.UNKNOWN:
        return False
    return isinstance(verdict, NodeVerdict) or verdict.age_s <= _SEEN_S


def _unhealthy(assessment: Assessment) -> Iterator[tuple[Target, DeviceVerdict | NodeVerdict]]:
    """What to keep away: whole nodes that are unhealthy, and single devices elsewhere."""
    models = {device.device.node: device.device.model for device in assessment.devices.values()}
    whole = {name: node for name, node in assessment.nodes.items() if node.health is Health.UNHEALTHY}
    for name, node in whole.items():
        yield Target(name, "node", name, models.get(name, ""), node.pool, node.devices), node
    for device in assessment.devices.values():
        if device.health is Health.UNHEALTHY and device.device.node not in whole:
            place = assessment.nodes.get(device.device.node)
            pool = place.pool if place is not None else ""
            yield Target(device.device.uuid, "device", device.device.node, device.device.model, pool), device


def _pool_others(target: Target, assessment: Assessment) -> frozenset[str]:
    """The other nodes of a target's pool that can work. Where pools are not named, the nodes of a model are one."""
    of_model = {device.device.node for device in assessment.devices.values() if device.device.model == target.model}
    return frozenset(
        name
        for name, node in assessment.nodes.items()
        if node.pool == target.pool
        and (target.pool or name in of_model)
        and name != target.node
        and node.healthy
        and not node.cordoned
    )


def summary(assessment: Assessment) -> dict[str, int]:
    """How many devices stand how.

    Returns:
        Counts by health.
    """
    counted = Counter(str(device.health) for device in assessment.devices.values())
    return {str(health): counted.get(str(health), 0) for health in Health}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
