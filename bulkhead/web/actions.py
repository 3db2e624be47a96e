"""What a person can do about a release: what is possible now, with what each will touch, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bulkhead.commands import Commands
from bulkhead.errors import ConflictError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.overview import RolloutView
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import readable_plan
from bulkhead.rollout.sentences import step_words
from bulkhead.text import identifier
from bulkhead.web.documents import (
    ActionDocument,
    ActionKind,
    ActionRequest,
    ApproveRequest,
    IsolateRequest,
    LevelDocument,
    Recorded,
)

_KEY_BYTES = 800

_TOUCHES: Mapping[IsolationLevel, str] = {
    IsolationLevel.TRAFFIC: "its traffic ends, and it is refused any",
    IsolationLevel.NETWORK: "nothing reaches its pods, and they reach nothing; on Kubernetes only",
    IsolationLevel.POD: "its pods are kept for inspection, and what they say is taken",
    IsolationLevel.DEVICE: "the devices under its pods are kept away from everybody's work, within the fleet's budget",
    IsolationLevel.NODE: "the nodes under its pods are kept away from everybody's work, within the fleet's budget",
    IsolationLevel.MODEL: "its model is refused for every other revision too, and by the evaluate gate",
}


@dataclass(frozen=True)
class Person:
    """Who asks the API.

    Attributes:
        name: for the record.
        may_edit: whether the person may edit a DAG by its id; None: every DAG.
    """

    name: str
    may_edit: Callable[[str | None], bool]


def possible(view: RolloutView) -> Iterator[ActionDocument]:
    """What can be done about a release now, the most likely first."""
    rollout, revision = view.rollout, view.rollout.revision_id
    one_step = "in one step and without a judgement"
    if rollout.phase is Phase.APPROVING:
        yield ActionDocument(
            kind=ActionKind.APPROVE,
            words=_goes_on(rollout),
            command=f"bulkhead approve {rollout.service}",
            step=rollout.step + 1,
        )
    if not rollout.phase.settled or _to_leave(view):
        yield ActionDocument(
            kind=ActionKind.ROLL_BACK,
            words=f"All of the traffic returns to revision {view.previous}, {one_step}."
            if rollout.phase.settled
            else _returns(rollout),
            command=f"bulkhead rollback {rollout.service}",
        )
    if rollout.may_skip:
        yield ActionDocument(
            kind=ActionKind.PROMOTE,
            words=_skips(rollout),
            command=f"bulkhead promote {rollout.service}",
        )
    if view.served and view.serving != revision and view.going is None and not view.isolations:
        yield ActionDocument(
            kind=ActionKind.RETURN,
            words=f"All of the traffic goes to revision {revision} again, {one_step}.",
            command=f"bulkhead rollback {rollout.service} --to {revision}",
        )
    present = {isolation.level for isolation in view.isolations}
    levels = [level for level in IsolationLevel if level not in present]
    if levels:
        yield ActionDocument(
            kind=ActionKind.ISOLATE,
            words=f"Revision {revision} has no traffic, and is given none, until a person ends the isolation.",
            command=f"bulkhead isolate {revision} --reason …",
            levels=[LevelDocument(level=level, touches=_TOUCHES[level]) for level in levels],
        )
    if present:
        yield ActionDocument(
            kind=ActionKind.UNISOLATE,
            words=f"Revision {revision} may have traffic again. None is given to it by that.",
            command=f"bulkhead unisolate {revision} --reason …",
        )


def act(
    commands: Commands, view: RolloutView, kind: ActionKind, person: Person, key: str, asked: ActionRequest
) -> Recorded:
    """Do something about a release, once for each key.

    Args:
        commands: of the control plane.
        view: the release, as it was read just now.
        person: who asks; that the person may is known already.
        key: the person's own; asked again under it, the same is answered and nothing is done.
        asked: the reason, and what the action wants to know besides; of the kind's own type.

    Returns:
        What was recorded.

    Raises:
        ConflictError: it is not possible any more.
        UnsupportedError: a level of isolation that the service's runtime does not have.
        NotFoundError: there is nothing to go back to.
    """
    rollout, by = view.rollout, f"web: {person.name}"
    request = Request(identifier(f"web/{kind}/{rollout.id}/{key}/{person.name}", _KEY_BYTES), asked.reason, by)
    before = commands.acted(request)
    if before is not None and (kind is not ActionKind.ROLL_BACK or before.rollout_id is not None):
        return Recorded(words="It is recorded already.", release=before.rollout_id or rollout.id)
    match kind:
        case ActionKind.APPROVE:
            assert isinstance(asked, ApproveRequest)
            commands.approve(rollout.id, request, step=asked.step - 1)
            return Recorded(words=f"Step {asked.step} is approved.", release=rollout.id)
        case ActionKind.PROMOTE:
            commands.promote(rollout.id, request)
            return Recorded(words="It goes to the last step of its plan.", release=rollout.id)
        case ActionKind.ROLL_BACK:
            return _roll_back(commands, view, request)
        case ActionKind.RETURN:
            back = commands.roll_back_to(rollout.revision_id, request)
            return Recorded(words=f"Release {back.id} gives it all of the traffic.", release=back.id)
        case ActionKind.ISOLATE:
            assert isinstance(asked, IsolateRequest)
            commands.isolate(rollout.revision_id, request, levels=asked.levels, budgeted=False)
            return Recorded(words=f"Revision {rollout.revision_id} is isolated.", release=rollout.id)
        case ActionKind.UNISOLATE:
            commands.unisolate(rollout.revision_id, request)
            return Recorded(words=f"Revision {rollout.revision_id} may have traffic again.", release=rollout.id)


def _roll_back(commands: Commands, view: RolloutView, request: Request) -> Recorded:
    rollout = view.rollout
    if not rollout.phase.settled:
        back = commands.abort(rollout.id, request)
        if back is not None:
            return Recorded(words=f"{_returns(back)} It has begun.", release=back.id)
    elif _to_leave(view):
        back = commands.roll_back_revision(rollout.service, rollout.revision_id, request)
        if back is not None:
            return Recorded(words=f"Release {back.id} returns the traffic to {back.revision_id}.", release=back.id)
    raise ConflictError(
        f"release {rollout.id} of service {rollout.service!r} is {rollout.phase}: it has no traffic that could be "
        f"taken back now, and nothing was changed"
    )


def _to_leave(view: RolloutView) -> bool:
    """Whether the release's revision is the stable one, and there is another to return to."""
    return view.rollout.phase.ended and view.previous is not None


def _returns(rollout: Rollout) -> str:
    if rollout.stable_id is None:
        return "Its traffic ends. It is the first of its service, so none serves then."
    return f"All of the traffic returns to revision {rollout.stable_id}."


def _skips(rollout: Rollout) -> str:
    plan = readable_plan(rollout.plan)
    last = f" ({step_words(plan.steps[-1])})" if plan is not None else ""
    return (
        f"The release goes from step {rollout.step + 1} to the last one of its plan{last} at once, without the "
        f"evidence and the approvals of those between. It is judged there, and rolled back if it fails."
    )


def _goes_on(rollout: Rollout) -> str:
    plan = readable_plan(rollout.plan)
    following = plan.steps[rollout.step + 1 :] if plan is not None else ()
    then = f"next: {step_words(following[0])}" if following else "it was the last one, and the revision becomes stable"
    return f"The release goes on from step {rollout.step + 1}; {then}."
