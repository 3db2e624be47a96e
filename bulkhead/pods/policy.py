"""What to do about a pod's failure: a pure function of everything that has failed so far.

Two budgets: the *user's* retries are for the program's own failures; failures of the *infrastructure* (node, device,
image registry, quota) have one of their own, so that a bad night of spot nodes does not use up the former. No failure
is retried for ever: the same cause without progress stops (NVIDIA Resiliency Extension stops at 3 likewise).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bulkhead.pods.event_texts import never_scales
from bulkhead.pods.outcome import Failure
from bulkhead.pods.outcome import FailureClass as C


class FailureAction(enum.StrEnum):
    """What is done next."""

    RETRY = "retry here"
    ELSEWHERE = "retry elsewhere"
    MORE_MEMORY = "retry with more memory"
    WAIT = "wait, then retry"
    FAIL = "fail"


class RetryBudget(enum.StrEnum):
    """Whose retries a failure uses up."""

    USER = "user"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True)
class RetryRule:
    """What is done about a class of failures.

    Attributes:
        action: the action.
        budget: that it uses up.
        at_most: how often; None for the budget alone.
        delay_s: seconds before the next try; doubled each time in a row where the action is ``WAIT``.
        suspect: whether the node or device is suspected.
    """

    action: FailureAction
    budget: RetryBudget = RetryBudget.INFRASTRUCTURE
    at_most: int | None = None
    delay_s: float = 0.0
    suspect: bool = False


_FAIL = RetryRule(FailureAction.FAIL, RetryBudget.USER)
_ELSEWHERE = RetryRule(FailureAction.ELSEWHERE, delay_s=5)
_LET_BACK = RetryRule(FailureAction.RETRY, delay_s=5)
"""No node was left: better one that has failed than none. ``changes`` makes a preference of what was forbidden."""

RULES: Mapping[tuple[C, str], RetryRule] = {
    (C.APPLICATION, ""): RetryRule(FailureAction.RETRY, RetryBudget.USER),
    (C.APPLICATION, "cuda"): RetryRule(FailureAction.ELSEWHERE, RetryBudget.USER, at_most=1),
    (C.GATE, ""): _FAIL,
    (C.CONFIG, ""): _FAIL,
    (C.CONFIG, "sandbox"): _ELSEWHERE,
    (C.CONFIG, "runtime"): _ELSEWHERE,
    (C.CONFIG, "driver"): RetryRule(FailureAction.ELSEWHERE, at_most=1, delay_s=5),
    (C.CONFIG, "volume-held"): RetryRule(FailureAction.WAIT, delay_s=30),
    (C.CONFIG, "volume-late"): _ELSEWHERE,
    (C.HOST_OOM, ""): RetryRule(FailureAction.MORE_MEMORY, at_most=2),
    (C.GPU_OOM, ""): _FAIL,
    (C.DEVICE_FAULT, ""): RetryRule(FailureAction.ELSEWHERE, delay_s=5, suspect=True),
    (C.NODE_LOST, ""): _ELSEWHERE,
    (C.EVICTED, ""): _ELSEWHERE,
    (C.EVICTED, "disk-limit"): _FAIL,
    (C.PREEMPTED, ""): RetryRule(FailureAction.RETRY, delay_s=1),
    (C.IMAGE, ""): RetryRule(FailureAction.WAIT, delay_s=30),
    (C.IMAGE, "not-found"): _FAIL,
    (C.IMAGE, "auth"): _FAIL,
    (C.IMAGE, "signature"): _FAIL,
    (C.IMAGE, "node-disk"): _ELSEWHERE,
    (C.UNSCHEDULABLE, ""): RetryRule(FailureAction.WAIT, delay_s=60),
    (C.UNSCHEDULABLE, "node-admission"): _ELSEWHERE,
    (C.UNSCHEDULABLE, "selector"): _FAIL,
    (C.UNSCHEDULABLE, "volume"): _FAIL,
    (C.ADMISSION, ""): _FAIL,
    (C.DEADLINE, ""): _FAIL,
    (C.HUNG, ""): RetryRule(FailureAction.ELSEWHERE, at_most=1, delay_s=5),
    (C.CLUSTER_UNREACHABLE, ""): RetryRule(FailureAction.WAIT, delay_s=15),
    (C.CANCELLED, ""): _FAIL,
}
"""By class and kind; a kind without a rule of its own has its class'."""

_LONGEST_DELAY_S = 900.0


@dataclass(frozen=True)
class Record:
    """A failure as it is kept between tries.

    Attributes:
        failure_class: the class.
        kind: more exactly.
        node: that the pod ran on, or an empty string.
        checkpoint: the last one that it reported, or None.
    """

    failure_class: C
    kind: str = ""
    node: str = ""
    checkpoint: str | None = None

    @classmethod
    def of(cls, failure: Failure, node: str) -> Record:
        """Keep what a decision needs.

        Args:
            node: that the pod ran on, or an empty string.
        """
        return cls(failure.failure_class, failure.kind, node, failure.checkpoint)

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Record:
        """Read what ``dump`` wrote."""
        return cls(C(data["failure_class"]), data["kind"], data["node"], data["checkpoint"])

    @property
    def rule(self) -> RetryRule:
        """What is done about it."""
        own = RULES.get((self.failure_class, self.kind))
        return own or RULES[(self.failure_class, "")]


@dataclass(frozen=True)
class RetryLimits:
    """How much may be tried.

    Attributes:
        user_retries: for the program's own failures.
        infrastructure_retries: for everybody else's.
        same_cause: so often in a row the same failure, without a newer checkpoint, and it is over.
        memory_factor: by which the memory grows after each host OOM.
        memory_ceiling: to at most so many times what was asked for at first.
    """

    user_retries: int = 0
    infrastructure_retries: int = 3
    same_cause: int = 3
    memory_factor: float = 1.5
    memory_ceiling: float = 3.0


@dataclass(frozen=True)
class Changes:
    """What the next try does otherwise.

    Attributes:
        exclude_nodes: nodes that must not be used.
        avoid_nodes: nodes to use only where no other has room: without them the cluster had none for it before.
        memory_factor: times the memory that was asked for at first.
        resume_from: checkpoint to resume from, or None.
    """

    exclude_nodes: tuple[str, ...] = ()
    avoid_nodes: tuple[str, ...] = ()
    memory_factor: float = 1.0
    resume_from: str | None = None


@dataclass(frozen=True)
class FailureDecision:
    """What is done about the latest failure.

    Attributes:
        action: the action.
        reason: one sentence, with the counts.
        delay_s: seconds before the next try.
        suspect: whether its node or device is suspected.
    """

    action: FailureAction
    reason: str
    delay_s: float = 0.0
    suspect: bool = False


def decide(history: Sequence[Record], limits: RetryLimits) -> FailureDecision:
    """Decide about the latest failure.

    Args:
        history: every failure so far of this task, oldest first; at least one.
        limits: how much may be tried.
    """
    latest = history[-1]
    rules = [_rule(history[: number + 1]) for number in range(len(history))]
    rule, name = rules[-1], _name(latest)
    if rule.action is FailureAction.FAIL:
        return FailureDecision(FailureAction.FAIL, f"{name}: another try would fail the same way")
    spent = sum(spent_rule.budget is rule.budget for spent_rule in rules)
    allowed = limits.user_retries if rule.budget is RetryBudget.USER else limits.infrastructure_retries
    if spent > allowed:
        return _over(latest, f"{name}: the {allowed} {rule.budget} retries are used up")
    same = sum((record.failure_class, record.kind) == (latest.failure_class, latest.kind) for record in history)
    if rule.at_most is not None and same > rule.at_most:
        return _over(latest, f"{name}: it came again after {rule.action}")
    if _stalled(history) >= limits.same_cause:
        return _over(latest, f"{name}: {limits.same_cause} times in a row without progress")
    if (
        rule.action is FailureAction.MORE_MEMORY
        and changes(history[:-1], limits).memory_factor >= limits.memory_ceiling
    ):
        return _over(latest, f"{name}: it had {limits.memory_ceiling:g} times the memory asked for already")
    delay = rule.delay_s * 2 ** (_in_a_row(history) - 1) if rule.action is FailureAction.WAIT else rule.delay_s
    action = "retry also where it failed" if rule is _LET_BACK else rule.action
    reason = f"{name}: {action}, {spent} of {allowed} {rule.budget} retries"
    return FailureDecision(rule.action, reason, min(delay, _LONGEST_DELAY_S), rule.suspect)


def hopeless(failure: Failure, events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod that cannot start would have to wait for ever.

    Args:
        events: about it, in their JSON form. The scheduler says the same of a node pool that is scaled up from zero,
            and of a volume on its way, as of what will never be: there the autoscaler has to have said that it cannot
            help.
    """
    if Record.of(failure, "").rule.action is not FailureAction.FAIL:
        return False
    return failure.failure_class is not C.UNSCHEDULABLE or never_scales(events)


def changes(history: Sequence[Record], limits: RetryLimits) -> Changes:
    """What the next try does otherwise.

    Args:
        history: every failure so far of this task, oldest first.
        limits: how much may be tried.
    """
    nodes, avoided = _left(history)
    grown = sum(record.rule.action is FailureAction.MORE_MEMORY for record in history)
    checkpoints = [record.checkpoint for record in history if record.checkpoint]
    return Changes(
        exclude_nodes=nodes,
        avoid_nodes=avoided,
        memory_factor=min(limits.memory_factor**grown, limits.memory_ceiling),
        resume_from=checkpoints[-1] if checkpoints else None,
    )


def _left(history: Sequence[Record]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The nodes that this task was to leave: forbidden, and those that are only avoided, since no other had room."""
    nodes: dict[str, None] = {}
    avoided: dict[str, None] = {}
    for record in history:
        if record.failure_class is C.UNSCHEDULABLE and not record.node:
            avoided, nodes = {**avoided, **nodes}, {}
        elif record.rule.action is FailureAction.ELSEWHERE and record.node:
            nodes[record.node] = None
    return tuple(nodes), tuple(node for node in avoided if node not in nodes)


def _rule(history: Sequence[Record]) -> RetryRule:
    """What is done about the latest failure, after those before it."""
    latest = history[-1]
    if latest.failure_class is C.UNSCHEDULABLE and not latest.node and _left(history[:-1])[0]:
        return _LET_BACK
    return latest.rule


def _over(latest: Record, reason: str) -> FailureDecision:
    return FailureDecision(FailureAction.FAIL, reason, suspect=latest.rule.suspect)


def _name(record: Record) -> str:
    return f"{record.failure_class}/{record.kind}" if record.kind else str(record.failure_class)


def _stalled(history: Sequence[Record]) -> int:
    """How often in a row the latest failure came with the same checkpoint (or none)."""
    latest = history[-1]
    same = [(record.failure_class, record.kind, record.checkpoint) for record in history]
    return _run_length([cause == (latest.failure_class, latest.kind, latest.checkpoint) for cause in same])


def _in_a_row(history: Sequence[Record]) -> int:
    return _run_length([record.failure_class is history[-1].failure_class for record in history])


def _run_length(flags: Sequence[bool]) -> int:
    length = 0
    for flag in reversed(flags):
        if not flag:
            break
        length += 1
    return length
