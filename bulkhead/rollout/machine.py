"""The state machine of a rollout, as data and one pure function. Nothing here touches the world.

::

    requested ─▶ registered ─▶ launched ─▶ shifting ⇄ analysing ─▶ promoting ─▶ retiring ─▶ promoted
        └────────────┴────────────┴───────────┴──────────┴─────────────┘
                                    ▼ (a verdict, an error, a rollback intent)
                                restoring ─▶ unaliasing ─▶ draining ─▶ rolled_back

In every phase there is one effect; it is idempotent, and only when it has succeeded is the next phase
written. So a reconciler killed anywhere repeats at most one effect.
"""

from __future__ import annotations

import enum

from bulkhead.ledger.tables import Phase


class Effect(enum.StrEnum):
    """What the world must be made to show before a rollout may leave a phase."""

    REGISTER = "register the model version"
    LAUNCH = "launch the candidate's server"
    AWAIT_READY = "wait until the candidate is ready"
    SHIFT = "shift traffic to the step's weight"
    ANALYSE = "judge the step"
    MOVE_ALIAS = "move the champion alias to the candidate"
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
    Phase.PROMOTING: Effect.MOVE_ALIAS,
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
    Phase.PROMOTING: Phase.RETIRING,
    Phase.RETIRING: Phase.PROMOTED,
    Phase.RESTORING: Phase.UNALIASING,
    Phase.UNALIASING: Phase.DRAINING,
    Phase.DRAINING: Phase.ROLLED_BACK,
}


def following(phase: Phase, step: int, steps: int) -> tuple[Phase, int]:
    """Where a rollout goes when its phase's effect has succeeded.

    Args:
        phase: now; not an ended one.
        step: index of the step now.
        steps: number of steps of the plan.

    Returns:
        The next phase, and the step in it.
    """
    if phase is Phase.ANALYSING:
        return (Phase.PROMOTING, step) if step + 1 >= steps else (Phase.SHIFTING, step + 1)
    return _NEXT[phase], step
