"""What happens to a rollout, in sentences: for a task's log, the command line and the person on call.

An event of the ledger is a kind and some data; here, and nowhere else, it becomes words. Each sentence is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bulkhead.events import UNCLEAR, EventKind, Rule
from bulkhead.ledger.tables import Event, Phase, Rollout
from bulkhead.rollout.plan import Plan, Step, readable_plan

HOLD = "hold: "
"""In front of the rule for which a step waits, in what an event ``waiting`` is for."""

APPROVAL = "a person to approve"
"""What an event ``waiting`` is for where a step asks for a person."""

_NAMED = 3
"""So many nodes or devices are named, and the others counted."""

_BY_PLAN = (Rule.MIN_REQUESTS, Rule.MIN_TIME)
"""Rules for which every step waits at first: told only where it goes on for long."""

_HOLDS: Mapping[str, str] = {
    Rule.NO_DATA: "the candidate's counters cannot be read, or were reset",
    Rule.NO_ANSWERS: "what the model answered cannot be read",
    Rule.MIN_REQUESTS: "the candidate has not answered enough requests yet",
    Rule.MIN_TIME: "its shortest time is not over yet",
    Rule.NO_GROUND_TRUTH: "the ground truth that the plan requires is not known yet",
    Rule.SATURATED: "too many requests are in flight at the candidate",
    Rule.STABLE_FAILS_TOO: "the candidate fails, but stable fails in the same way, so it is no fault of the release",
}

_NEXT: Mapping[str, str] = {
    Rule.NOT_SERVING: "read the log of its server, and mend what it names",
    Rule.DEVICE: "release it again: the unhealthy device is avoided",
    Rule.APPROVAL: "release it again, and approve with 'bulkhead approve {service}' or in Airflow's web UI",
    Rule.METRICS_UNAVAILABLE: "mend what gives the metrics, and release it again",
    Rule.UNAVAILABLE: "mend what did not answer, and release it again",
    Rule.MIN_REQUESTS: "send more requests, lower the plan's min_requests or raise its inconclusive_timeout_s, and "
    "release it again",
    Rule.NO_GROUND_TRUTH: "log the model's ground truth in MLflow, or raise the plan's inconclusive_timeout_s, and "
    "release it again",
    Rule.NO_DATA: "mend what gives the metrics, and release it again",
    Rule.STABLE_FAILS_TOO: "end the incident that stable has as well, and release it again",
    Rule.PROGRESS_DEADLINE: "raise the plan's progress_deadline_s, or shorten its steps, and release it again",
    Rule.ISOLATED: "'bulkhead unisolate {revision}' takes the isolation back, if it was a mistake",
    Rule.ERROR: "mend what the error names, and release it again",
}
_MEND = "mend the model, and release the new one"
_ASKED = "once its reason is gone, release it again"


def sentence(event: Event, rollout: Rollout) -> str | None:
    """An event of a rollout for people.

    Args:
        event: of that rollout; one of an unknown kind (an older or a newer version's) is told by its kind.
        rollout: as it is now.

    Returns:
        One line; None where another event tells the same.
    """
    made = _SENTENCES.get(event.kind)
    words = event.kind if made is None else made(event.data or {}, rollout)
    return None if words is None else _line(words)


def end(rollout: Rollout) -> str:
    """How a rollout has ended: what happened, why, what serves now, and what can be done next.

    Args:
        rollout: that has ended, or will return for good.

    Returns:
        One line.
    """
    service, revision = rollout.service, rollout.revision_id
    if not rollout.phase.returning:
        because = f" ({rollout.reason})" if rollout.reason else ""
        back = f" 'bulkhead rollback {service}' returns to {rollout.stable_id}." if rollout.stable_id else ""
        return _line(f"Promoted: revision {revision} serves all of the traffic of service {service}{because}.{back}")
    why = _stop(rollout.reason or "no reason was given")
    return _line(
        f"Rolled back: revision {revision} of service {service}: {why} {serves(rollout)} Next: {_next(rollout)}."
    )


def serves(rollout: Rollout) -> str:
    """What serves after a rollback, as a sentence.

    Args:
        rollout: that returns, or has returned.
    """
    if rollout.stable_id is None:
        return f"No revision serves {rollout.service} now: this was its first."
    if rollout.contained_at is None:
        return f"The traffic is on its way back to revision {rollout.stable_id}."
    return f"All of the traffic is back on revision {rollout.stable_id}{_took(rollout)}."


def where(step: Step) -> str:
    """What a step shows the candidate, for the middle of a sentence."""
    if step.mirror:
        return f"on {step.mirror} % of the requests, mirrored,"
    if step.weight:
        return f"at {step.weight} % of the traffic"
    return f"for {_headers(step)}"


def step_words(step: Step) -> str:
    """A step of a plan, in a few words."""
    shown = f"{step.mirror} % mirrored" if step.mirror else f"{step.weight} %"
    return f"{shown}, then a person approves" if step.approve else shown


def _next(rollout: Rollout) -> str:
    decision = rollout.decision or {}
    rule = str(decision.get("rule", ""))
    remedy = _NEXT.get(rule, _MEND if rule else _ASKED)
    return remedy.format(service=rollout.service, revision=rollout.revision_id)


def _took(rollout: Rollout) -> str:
    if rollout.contained_at is None or rollout.decided_at is None:
        return ""
    return f", {max(0.0, (rollout.contained_at - rollout.decided_at).total_seconds()):.1f} s after the decision"


def _requested(data: Mapping[str, Any], rollout: Rollout) -> str:
    before = f"revision {rollout.stable_id} serves" if rollout.stable_id else "nothing serves yet"
    by = f", asked for by {data['by']}" if data.get("by") else ""
    return f"Release of revision {rollout.revision_id} to service {rollout.service}{by}; {before}."


def _registered(_: Mapping[str, Any], __: Rollout) -> str:
    return "Its model is registered."


def _launched(_: Mapping[str, Any], __: Rollout) -> str:
    return "Its server is starting."


def _shifting(data: Mapping[str, Any], _: Rollout) -> str | None:
    # After a step the event "passed", or "approved", tells of what comes next.
    if data.get("after") != Phase.LAUNCHED:
        return None
    where = ", ".join(_few(data[names]) for names in ("nodes", "devices") if data.get(names))
    return f"Its server is ready, on {where}." if where else "Its server is ready."


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _analysing(data: Mapping[str, Any], rollout: Rollout) -> str:
    number, plan = _number(data, rollout), readable_plan(rollout.plan)
    step = plan.steps[number] if plan is not None and number < len(plan.steps) else None
    if plan is None or step is None:
        return f"{_step(number, plan)}: {data.get('weight')} % of the traffic goes to it."
    asked = f" It has to answer at least {plan.min_requests:,} requests in at least {plan.step_s_of(step):g} s."
    return f"{_step(number, plan)}: {_shown(step)}{asked if plan.judged else ''}"


def _approving(data: Mapping[str, Any], rollout: Rollout) -> str:
    step = _its_step(data, rollout)
    return f"{step} waits for a person: 'bulkhead approve {rollout.service}', or Airflow's web UI where its DAG asks."


def _approved(data: Mapping[str, Any], rollout: Rollout) -> str:
    said = f": {data['reason']}" if data.get("reason") else ""
    return f"{_its_step(data, rollout)} was approved by {data.get('by')}{said}."


def _skipping(data: Mapping[str, Any], rollout: Rollout) -> str:
    said = f": {data['reason']}" if data.get("reason") else ""
    return f"{_its_step(data, rollout)}: {data.get('by')} has it go to the last step at once{said}."


def _passed(data: Mapping[str, Any], rollout: Rollout) -> str:
    step, reason = _its_step(data, rollout), data.get("reason", "")
    rule, numbers = data.get("rule"), data.get("numbers") or {}
    if rule == Rule.NOT_JUDGED:
        return f"{step} is not judged: {reason}."
    if rule != Rule.WITHIN_LIMITS:
        return (
            f"{step} goes on without enough evidence, as the plan's 'on_insufficient_data: promote' has it: {reason}."
        )
    return f"{step} passed: {reason}. {_basis(numbers)}"


def _rollback(data: Mapping[str, Any], rollout: Rollout) -> str:
    judged = isinstance(data.get("index"), int)
    at = f" from {_its_step(data, rollout).lower()}" if judged else ""
    asked = f", asked for by {data['by']}" if data.get("by") else ""
    basis = _basis(data["numbers"], str(data.get("rule"))) if data.get("numbers") else ""
    return f"Rolling back{at}{asked}: {_stop(str(data.get('reason') or 'no reason was given'))} {basis}"


def _unaliasing(_: Mapping[str, Any], rollout: Rollout) -> str:
    return serves(rollout)


def _draining(_: Mapping[str, Any], rollout: Rollout) -> str:
    return f"The server of revision {rollout.revision_id} answers its last requests, and is stopped."


def _promoting(_: Mapping[str, Any], __: Rollout) -> str:
    return "The model's alias 'champion' moves to it."


def _baking(_: Mapping[str, Any], rollout: Rollout) -> str | None:
    plan = readable_plan(rollout.plan)
    if plan is None or not plan.bake_s:
        return None
    warm = f"; revision {rollout.stable_id} stays ready to take over" if rollout.stable_id else ""
    return f"It has all of the traffic, and is judged for {plan.bake_s:g} s more{warm}."


def _retiring(_: Mapping[str, Any], rollout: Rollout) -> str:
    before = f"; revision {rollout.stable_id} answers its last requests, and is stopped" if rollout.stable_id else ""
    return f"Revision {rollout.revision_id} is the stable one now{before}."


def _ended(_: Mapping[str, Any], __: Rollout) -> None:
    """Told by ``end``, with more than an event knows."""


def _waiting(data: Mapping[str, Any], rollout: Rollout) -> str | None:
    what, still = str(data.get("for", "")), "still " if data.get("still") else ""
    if not what.startswith(HOLD):
        if what.startswith(APPROVAL) and not still:
            return None  # told by the event "approving"
        return f"It {still}waits: {_stop(what)}"
    rule = what.removeprefix(HOLD)
    if rule in _BY_PLAN and not still:
        return None
    why = str(data.get("why") or "")
    if rule.endswith(UNCLEAR):
        text = why or f"the candidate is over the limit of rule {rule.removesuffix(UNCLEAR)}, which may still be chance"
    else:
        text = _HOLDS.get(rule, rule) + (f" ({why})" if why else "")
    return f"{_its_step(data, rollout)} {still}waits: {_stop(text)}"


def _repair(data: Mapping[str, Any], _: Rollout) -> str:
    return f"What serves is repaired: {data.get('why')}."


def _drift(data: Mapping[str, Any], _: Rollout) -> str:
    done = "left as it is" if data.get("adopted") else "written back"
    return f"Another writer has changed the traffic or what serves: {data.get('why')}; {done}."


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any], Rollout], str | None]] = {
    Phase.REQUESTED: _requested,
    Phase.REGISTERED: _registered,
    Phase.LAUNCHED: _launched,
    Phase.SHIFTING: _shifting,
    Phase.ANALYSING: _analysing,
    Phase.APPROVING: _approving,
    Phase.PROMOTING: _promoting,
    Phase.BAKING: _baking,
    Phase.RETIRING: _retiring,
    Phase.PROMOTED: _ended,
    Phase.UNALIASING: _unaliasing,
    Phase.DRAINING: _draining,
    Phase.ROLLED_BACK: _ended,
    EventKind.APPROVED: _approved,
    EventKind.SKIPPING: _skipping,
    EventKind.PASSED: _passed,
    EventKind.ROLLBACK: _rollback,
    EventKind.WAITING: _waiting,
    EventKind.REPAIR: _repair,
    EventKind.DRIFT: _drift,
}


def _basis(numbers: Mapping[str, Any], rule: str = "") -> str:
    """What a verdict rests on: both sides' requests, failures and latencies, the time, and the evidence."""
    sides = [f"{_side(numbers.get('candidate'))} of the candidate"]
    if numbers.get("stable"):
        sides.append(f"{_side(numbers['stable'])} of stable")
    strength = (numbers.get("evidence") or {}).get(rule)
    against = f", where rule {rule} has {strength:.1f} times the evidence that it needs" if strength else ""
    return f"The verdict rests on {' and '.join(sides)} in {numbers.get('window_s', 0):g} s{against}."


def _side(seen: Mapping[str, Any] | None) -> str:
    if not seen:
        return "no requests"
    latency = _latency(seen.get("p99_ms"))
    return f"{seen.get('requests', 0)} requests ({seen.get('failures', 0)} failed, {seen.get('slow', 0)} slow{latency})"


def _latency(bounds: Any) -> str:
    if not bounds:
        return ""
    lower, upper = bounds
    return f", p99 over {lower:g} ms" if upper == "inf" else f", p99 at most {upper:g} ms"


def _shown(step: Step) -> str:
    if step.mirror:
        return f"it answers copies of {step.mirror} % of the requests, unseen by clients."
    named = _headers(step)
    if not step.weight:
        return f"requests with {named} go to it." if named else "it gets no requests."
    beside = f", and requests with {named}," if named else ""
    return f"{step.weight} % of the traffic{beside} goes to it."


def _headers(step: Step) -> str:
    return ", ".join(f"{name}: {value}" for name, value in step.headers.items())


def _its_step(data: Mapping[str, Any], rollout: Rollout) -> str:
    """The step that an event is about, and of how many."""
    return _step(_number(data, rollout), readable_plan(rollout.plan))


def _step(number: int, plan: Plan | None) -> str:
    return f"Step {number + 1}" + (f" of {len(plan.steps)}" if plan is not None else "")


def _number(data: Mapping[str, Any], rollout: Rollout) -> int:
    # An event from before there was an "index" has the step itself in its place, or its index.
    number = data.get("index", data.get("step"))
    return number if isinstance(number, int) else rollout.step


def _stop(text: str) -> str:
    """A text as a sentence of its own."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _line(text: str) -> str:
    """One line, whatever an error text in it holds."""
    return " ".join(text.split())
