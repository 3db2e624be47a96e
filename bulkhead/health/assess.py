"""From windows of observations to verdicts: pure, so that a fleet can be judged again from what is on record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bulkhead.health.observation import NodeState
from bulkhead.health.policy import Policy
from bulkhead.health.rules import findings, unseen
from bulkhead.health.verdict import DeviceFinding, DeviceVerdict, Health, NodeVerdict, Reason
from bulkhead.health.window import EvidenceWindow
from bulkhead.xids import RecommendedAction

_FINE = DeviceFinding(Health.HEALTHY, Reason.NOTHING, "", RecommendedAction.NONE)


def assess(window: EvidenceWindow, policy: Policy, now: float, previous: DeviceVerdict | None = None) -> DeviceVerdict:
    """How a device stands.

    Args:
        now: seconds since 1970.
        previous: the verdict before, for hysteresis; None at the first.

    Returns:
        The verdict: the gravest finding's. One that was unhealthy or suspect stays so for a while after the last
            evidence,
        and for as long as it is unknown: silence heals nothing.
    """
    worst = _FINE
    for finding in findings(window, policy, now):
        if _rank(finding) > _rank(worst):
            worst = finding
    latest = window.latest
    if worst is _FINE and latest is not None and (blind := unseen(latest)):
        text = f"not shown: {', '.join(blind)}"
        worst = replace(_FINE, text=text, confidence=1 - 0.2 * len(blind))
    age = max(now - latest.at, 0.0) if latest is not None else 0.0
    job = latest.job if latest is not None else ""
    if previous is not None and _lingers(previous, worst, policy, now):
        return replace(previous, device=window.device, job=job, age_s=age)
    since = previous.since if previous is not None and previous.health is worst.health else now
    return DeviceVerdict(
        window.device,
        worst.health,
        worst.reason,
        worst.text,
        worst.action,
        worst.confidence,
        since,
        worst.at or now,
        job,
        age,
    )


def _rank(finding: DeviceFinding) -> tuple[int, float, int]:
    return finding.health.weight, finding.confidence, finding.action.weight


def _lingers(previous: DeviceVerdict, now_found: DeviceFinding, policy: Policy, now: float) -> bool:
    """Whether an earlier, graver verdict stands still."""
    if previous.health is Health.UNHEALTHY and now_found.health is not Health.UNHEALTHY:
        return now_found.health is Health.UNKNOWN or now - previous.evidence_at < policy.unhealthy_clear_s
    if previous.health is Health.SUSPECT and now_found.health is Health.HEALTHY:
        return now - previous.evidence_at < policy.suspect_clear_s
    return False


def doubt(
    verdicts: Mapping[str, DeviceVerdict], previous: Mapping[str, DeviceVerdict], policy: Policy
) -> dict[str, DeviceVerdict]:
    """Disbelieve what would make many unhealthy at once: more likely the exporter's release than the devices.

    Args:
        previous: those before, by UUID: who was unhealthy for the same reason already is not of the wave.

    Returns:
        The verdicts; those of a wave as suspect, with the reason ``doubted``.
    """
    of_model = Counter(verdict.device.model for verdict in verdicts.values())
    unhealthy = [
        verdict for verdict in verdicts.values() if verdict.health is Health.UNHEALTHY and not _known(verdict, previous)
    ]
    wave = Counter((verdict.device.model, verdict.reason) for verdict in unhealthy)
    limits = policy.doubt
    adjusted = dict(verdicts)
    for verdict in unhealthy:
        count, all_of_it = wave[verdict.device.model, verdict.reason], of_model[verdict.device.model]
        if count >= limits.mass_least and count >= limits.mass_share * all_of_it:
            text = f"{count} of {all_of_it} {verdict.device.model or 'devices'} at once: {verdict.text}"
            adjusted[verdict.device.uuid] = replace(
                verdict,
                health=Health.SUSPECT,
                reason=Reason.DOUBTED,
                text=text,
                action=RecommendedAction.CONTACT_SUPPORT,
                confidence=0.2,
            )
    return adjusted


def _known(verdict: DeviceVerdict, previous: Mapping[str, DeviceVerdict]) -> bool:
    before = previous.get(verdict.device.uuid)
    return before is not None and before.health is Health.UNHEALTHY and before.reason is verdict.reason


def assess_nodes(
    verdicts: Iterable[DeviceVerdict], states: Mapping[str, NodeState], policy: Policy
) -> dict[str, NodeVerdict]:
    """How nodes stand, by their devices and by what the cluster says.

    Args:
        states: of the nodes, by name; empty where no cluster is asked.

    Returns:
        Verdicts by node name.
    """
    of_node: dict[str, list[DeviceVerdict]] = {name: [] for name in states}
    for verdict in verdicts:
        of_node.setdefault(verdict.device.node, []).append(verdict)
    return {name: _node(name, devices, states.get(name), policy) for name, devices in of_node.items()}


def _node(name: str, devices: list[DeviceVerdict], state: NodeState | None, policy: Policy) -> NodeVerdict:
    unhealthy = [device for device in devices if device.health is Health.UNHEALTHY]
    healthy = sum(device.health is Health.HEALTHY for device in devices)
    health, reason, text, action = Health.HEALTHY, Reason.NOTHING, "", RecommendedAction.NONE
    if unhealthy and (
        len(unhealthy) >= policy.node_devices
        or any(verdict.action is RecommendedAction.REBOOT for verdict in unhealthy)
    ):
        worst = max(unhealthy, key=lambda finding: finding.action.weight)
        health, reason, action = Health.UNHEALTHY, worst.reason, worst.action
        text = f"{len(unhealthy)} of {len(devices)} devices unhealthy: {worst.text}"
    elif state is not None and state.ready is False:
        health, reason, text = Health.UNKNOWN, Reason.NODE, "its kubelet is not ready"
    elif state is not None and state.faults:
        health, reason, text = Health.SUSPECT, Reason.NODE, "; ".join(state.faults)
    elif devices and all(device.health is Health.UNKNOWN for device in devices):
        health, reason, text = Health.UNKNOWN, devices[0].reason, devices[0].text
    elif any(device.health is not Health.HEALTHY for device in devices):
        worst = max(devices, key=lambda device: device.health.weight)
        health, reason, text, action = Health.SUSPECT, worst.reason, worst.text, worst.action
    pool, cordoned = (state.pool, state.cordoned) if state is not None else ("", False)
    evidence_at = max((verdict.evidence_at for verdict in unhealthy), default=0.0)
    product = (state.product if state is not None else "") or next((verdict.device.model for verdict in devices), "")
    return NodeVerdict(name, health, reason, text, action, len(devices), healthy, pool, cordoned, evidence_at, product)
