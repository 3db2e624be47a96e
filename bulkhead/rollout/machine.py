"""The state machine of a rollout, as data and one pure function. Nothing here touches the world.

::

    requested ─▶ registered ─▶ launched ─▶ shifting ─▶ analysing ─▶ promoting ─▶ baking ─▶ retiring ─▶ promoted
                                              ▲  ▲        │   │
                                              │  └────────┘   ▼
                                              └────────── approving
    any of these but retiring, on a verdict, an error or a rollback intent:
                                restoring ─▶ unaliasing ─▶ draining ─▶ rolled_back

In every phase there is one effect; it is idempotent, and only when it has succeeded is the next phase
written. So a reconciler killed anywhere repeats at most one effect.
"""

from __future__ import annotations

import enum

from bulkhead.ledger.tables import Phase
from bulkhead.rollout.plan import Plan


class Effect(enum.StrEnum):
    """What the world must be made to show before a rollout may leave a phase."""

    REGISTER = "register the model version"
    LAUNCH = "launch the candidate's server"
    AWAIT_READY = "wait until the candidate is ready"
    SHIFT = "shift traffic as the step says"
    ANALYSE = "judge the step"
    AWAIT_APPROVAL = "wait until a person agrees"
    MOVE_ALIAS = "move the champion alias to the candidate"
    BAKE = "judge the candidate while stable is still warm"
    RETIRE = "drain and stop the revision that was replaced"
    RESTORE = "return all traffic to the stable revision"
    RETURN_ALIAS = "return the champion alias to the stable revision"
    DRAIN = "drain and stop the candidate"


EFFECTS: dict[Phase, Effect] = {
    Phase.REQUESTED: Effect.REGISTER,
    Phase.REGISTERED: Effect.LAUNCH,
    Phase.LAUNCHED: Effect.AWAIT_READY,
    Phase.SHIFTING: Effect.SHIFT,
    Phase.ANALYSING: Effect.ANALYSE,
    Phase.APPROVING: Effect.AWAIT_APPROVAL,
    Phase.PROMOTING: Effect.MOVE_ALIAS,
    Phase.BAKING: Effect.BAKE,
    Phase.RETIRING: Effect.RETIRE,
    Phase.RESTORING: Effect.RESTORE,
    Phase.UNALIASING: Effect.RETURN_ALIAS,
    Phase.DRAINING: Effect.DRAIN,
}
"""The one effect of each phase that has not ended."""

_NEXT: dict[Phase, Phase] = {
    Phase.REQUESTED: Phase.REGISTERED,
    Phase.REGISTERED: Phase.LAUNCHED,
    Phase.LAUNCHED: Phase.SHIFTING,
    Phase.SHIFTING: Phase.ANALYSING,
    Phase.PROMOTING: Phase.BAKING,
    Phase.BAKING: Phase.RETIRING,
    Phase.RETIRING: Phase.PROMOTED,
    Phase.RESTORING: Phase.UNALIASING,
    Phase.UNALIASING: Phase.DRAINING,
    Phase.DRAINING: Phase.ROLLED_BACK,
}


def following(phase: Phase, step: int, plan: Plan) -> tuple[Phase, int]:
    """Where a rollout goes when its phase's effect has succeeded.

    Args:
        phase: now; not an ended one.
        step: index of the step now.
        plan: of the rollout.

    Returns:
        The next phase, and the step in it.
    """
    if phase is Phase.ANALYSING and plan.steps[step].approve:
        return Phase.APPROVING, step
    if phase in (Phase.ANALYSING, Phase.APPROVING):
        return (Phase.PROMOTING, step) if step + 1 >= len(plan.steps) else (Phase.SHIFTING, step + 1)
    return _NEXT[phase], step
