"""The rules: each looks at one device's window and says what it found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bulkhead.health.conditions import Condition
from bulkhead.health.faults import AGAIN, Fault, faults
from bulkhead.health.observation import Field, Reading
from bulkhead.health.policy import Policy
from bulkhead.health.verdict import DeviceFinding, Health, Reason
from bulkhead.health.window import EvidenceWindow
from bulkhead.xids import RECOVERY, Attribution, RecommendedAction

_SIGNS_OF_LIFE = (Field.TEMPERATURE, Field.POWER, Field.SM_CLOCK, Field.UTILISATION)
_KINDS = {
    "Xids": Field.LAST_XID,
    "ECC": Field.ECC_UNCORRECTED,
    "row remapping": Field.ROW_REMAP_FAILURE,
    "throttling": Field.THROTTLE_REASONS,
}
_GRAVE = frozenset(
    {
        RecommendedAction.RESET,
        RecommendedAction.DRAIN_AND_RESET,
        RecommendedAction.REBOOT,
        RecommendedAction.CONTACT_SUPPORT,
        RecommendedAction.CHECK_MECHANICALS,
    }
)
_NO_FAULT_OF_ITS_OWN = (Attribution.NOTE, Attribution.FOLLOWS, Attribution.STATES, Attribution.APPLICATION)


def unseen(latest: Reading) -> list[str]:
    """Which kinds of faults a reading says nothing of: absent is unknown, not zero."""
    shown = latest.fields
    return [
        kind
        for kind, field in _KINDS.items()
        if field not in shown and (field is not Field.LAST_XID or latest.xid_counts is None)
    ]


def findings(window: EvidenceWindow, policy: Policy, now: float) -> Iterator[DeviceFinding]:
    """Everything that speaks against a device.

    Args:
        now: seconds since 1970.
    """
    latest = window.latest
    yield from _doubts(window, policy, now)
    if window.xids:
        yield from _xids(window, policy, now)
    if latest is None:
        return
    if window.growth:
        yield from _growth(window, policy, now)
    yield from _stated(latest)
    if window.since:
        yield from _lasting(window, latest, policy)


def _doubts(window: EvidenceWindow, policy: Policy, now: float) -> Iterator[DeviceFinding]:
    """Whether its readings can be believed at all."""
    latest, doubt = window.latest, policy.doubt
    if latest is None:
        yield DeviceFinding(Health.UNKNOWN, Reason.NO_DATA, "no source shows it", at=now)
        return
    if window.missing >= doubt.gone_polls:
        text = f"{window.source} shows node {window.device.node} and has not shown this device {window.missing} times"
        yield DeviceFinding(Health.UNHEALTHY, Reason.GONE, text, RecommendedAction.REBOOT, 0.8, now)
    elif now - latest.at > doubt.stale_s:
        text = f"last seen {now - latest.at:.0f} s ago by {window.source}"
        yield DeviceFinding(Health.UNKNOWN, Reason.STALE, text, at=now)
    frozen = window.since.get(Condition.FROZEN)
    if frozen is not None and latest.at - frozen >= doubt.frozen_s:
        text = f"its numbers have not moved for {latest.at - frozen:.0f} s"
        yield DeviceFinding(Health.UNKNOWN, Reason.FROZEN, text, at=latest.at)
    if not any(field in latest.fields for field in _SIGNS_OF_LIFE):
        text = f"{window.source} shows neither temperature, power, clock nor utilisation"
        yield DeviceFinding(Health.UNKNOWN, Reason.NO_DATA, text, at=latest.at)
    elif len(unseen(latest)) == len(_KINDS):
        text = f"{window.source} shows nothing of {', '.join(_KINDS)}"
        yield DeviceFinding(Health.UNKNOWN, Reason.NO_DATA, text, at=latest.at)


def _xids(window: EvidenceWindow, policy: Policy, now: float) -> Iterator[DeviceFinding]:
    named = faults(window.xids)
    recent = [earlier for earlier in named if now - earlier.at <= policy.xids.memory_s]
    for fault in recent:
        finding = _by_blame(fault, recent, policy)
        if finding is not None:
            yield finding
    yield from _applications(named, policy, now)


def _by_blame(fault: Fault, recent: Sequence[Fault], policy: Policy) -> DeviceFinding | None:
    attribution = fault.xid.attribution
    grave = fault.action in _GRAVE  # a 154 beside an application's Xid may ask for a reset none the less
    if not grave and attribution in _NO_FAULT_OF_ITS_OWN:
        asked = fault.stated and fault.action is not RecommendedAction.NONE
        return _xid(Health.SUSPECT, fault, 0.5, f" (the driver states: {fault.action})") if asked else None
    if fault.action is RecommendedAction.NONE and fault.xid.action is not RecommendedAction.NONE:
        return _xid(Health.SUSPECT, fault, 0.6, " (the driver states that nothing is to be done)")
    if not fault.certain:
        return _xid(Health.SUSPECT, fault, 0.3, " (found at the first poll: of unknown age)")
    if attribution is Attribution.UNKNOWN:
        return _xid(Health.UNHEALTHY, fault, 0.5)
    times = sum(seen.xid.number == fault.xid.number for seen in recent)
    if attribution is Attribution.DEVICE or grave:
        if times > 1 and fault.xid.number in AGAIN:
            return _xid(Health.UNHEALTHY, replace(fault, action=AGAIN[fault.xid.number]), 0.97, f", {times} times")
        return _xid(Health.UNHEALTHY, fault, 0.95)
    if times >= policy.xids.recurrences:
        return _xid(Health.UNHEALTHY, fault, 0.7, f", {times} times")
    return _xid(Health.SUSPECT, fault, 0.5)


def _xid(health: Health, fault: Fault, confidence: float, more: str = "") -> DeviceFinding:
    beside = f" with {', '.join(map(str, fault.others))}" if fault.others else ""
    whose = f", under {fault.job}" if fault.job else ""
    text = f"Xid {fault.xid.number}{beside}: {fault.xid.description}{whose}{more}"
    return DeviceFinding(health, Reason.XID, text, fault.action, confidence, fault.at)


def _applications(faults: Sequence[Fault], policy: Policy, now: float) -> Iterator[DeviceFinding]:
    """A program's Xid is its own fault, unless it comes under one program after the other."""
    jobs: dict[int, dict[str, Fault]] = {}
    for fault in faults:
        recent = now - fault.at <= policy.xids.application_memory_s
        if recent and fault.xid.attribution is Attribution.APPLICATION and fault.certain and fault.job:
            jobs.setdefault(fault.xid.number, {})[fault.job] = fault
    for number, by_job in jobs.items():
        least = policy.xids.application_jobs
        if len(by_job) < least:
            continue
        last = max(by_job.values(), key=lambda fault: fault.at)
        health = Health.UNHEALTHY if len(by_job) > least else Health.SUSPECT
        text = f"Xid {number} ({last.xid.description}) under {len(by_job)} different jobs: {', '.join(sorted(by_job))}"
        yield DeviceFinding(health, Reason.APPLICATION, text, RecommendedAction.CONTACT_SUPPORT, 0.6, last.at)


def _growth(window: EvidenceWindow, policy: Policy, now: float) -> Iterator[DeviceFinding]:
    """Counters that grew."""
    memory, links, since = policy.memory, policy.links, now - policy.xids.memory_s
    uncorrected = window.grown(Field.ECC_UNCORRECTED, since)
    if uncorrected >= memory.uncorrected:
        text = f"{uncorrected:.0f} uncorrectable ECC errors"
        yield DeviceFinding(
            Health.UNHEALTHY, Reason.ECC, text, RecommendedAction.RESET, 0.95, _last(window, Field.ECC_UNCORRECTED)
        )
    corrected = window.grown(Field.ECC_CORRECTED, now - 3600)
    if corrected >= memory.corrected_per_hour:
        text = f"{corrected:.0f} correctable ECC errors in an hour"
        yield DeviceFinding(
            Health.SUSPECT, Reason.ECC, text, RecommendedAction.NONE, 0.6, _last(window, Field.ECC_CORRECTED)
        )
    rows = window.grown(Field.ROWS_UNCORRECTED, since)
    if rows >= memory.rows_uncorrected:
        text = f"{rows:.0f} rows remapped for uncorrectable errors"
        yield DeviceFinding(
            Health.SUSPECT, Reason.ROW_REMAP, text, RecommendedAction.RESET, 0.7, _last(window, Field.ROWS_UNCORRECTED)
        )
    for counter, reason, limit, what in (
        (Field.PCIE_REPLAYS, Reason.PCIE, links.pcie_replays_per_minute, "PCIe replays"),
        (Field.NVLINK_ERRORS, Reason.NVLINK, links.nvlink_errors_per_minute, "NVLink errors"),
    ):
        grown = window.grown(counter, now - 300) / 5
        if grown >= limit:
            text = f"{grown:.0f} {what} a minute, over 5 minutes"
            yield DeviceFinding(Health.SUSPECT, reason, text, RecommendedAction.CHECK_LINK, 0.6, _last(window, counter))


def _last(window: EvidenceWindow, counter: Field) -> float:
    return window.growth[counter][-1][0]


def _stated(latest: Reading) -> Iterator[DeviceFinding]:
    """What the device itself says of its state."""
    fields = latest.fields
    if fields.get(Field.ROW_REMAP_FAILURE):
        yield DeviceFinding(
            Health.UNHEALTHY,
            Reason.ROW_REMAP,
            "a row could not be remapped",
            RecommendedAction.CONTACT_SUPPORT,
            0.95,
            latest.at,
        )
    if fields.get(Field.ROW_REMAP_PENDING):
        text = "a remapped row waits for a reset"
        yield DeviceFinding(Health.SUSPECT, Reason.ROW_REMAP, text, RecommendedAction.RESET, 0.8, latest.at)
    number = int(fields.get(Field.RECOVERY_ACTION, 0))
    action = RECOVERY.get(number, RecommendedAction.CONTACT_SUPPORT)
    if action is RecommendedAction.CHECK_LINK:
        text = "the driver asks to drain its peer-to-peer traffic"
        yield DeviceFinding(Health.SUSPECT, Reason.RECOVERY, text, action, 0.9, latest.at)
    elif action is not RecommendedAction.NONE:
        yield DeviceFinding(
            Health.UNHEALTHY, Reason.RECOVERY, f"the driver asks for: {action}", action, 0.99, latest.at
        )


def _lasting(window: EvidenceWindow, latest: Reading, policy: Policy) -> Iterator[DeviceFinding]:
    """Conditions that have lasted."""
    heat, peers = policy.heat, policy.peers
    lasted = {name: latest.at - since for name, since in window.since.items()}

    def seconds_of(condition: Condition) -> float:
        return lasted.get(condition, -1.0)

    for condition, reason, what in (
        (Condition.HOT, Reason.HEAT, f"hot ({_hottest(latest, policy)})"),
        (Condition.THROTTLED, Reason.HEAT, "throttled for heat"),
        (Condition.BRAKED, Reason.POWER, "slowed by the power brake"),
    ):
        seconds = seconds_of(condition)
        if seconds >= heat.suspect_s:
            health = Health.UNHEALTHY if seconds >= heat.unhealthy_s else Health.SUSPECT
            yield DeviceFinding(
                health, reason, f"{what} for {seconds:.0f} s", RecommendedAction.CHECK_MECHANICALS, 0.8, latest.at
            )
    if seconds_of(Condition.NARROW) >= policy.links.narrow_s:
        width, most = (int(latest.fields[field]) for field in (Field.PCIE_WIDTH, Field.PCIE_WIDTH_MAX))
        text = f"{width} of {most} PCIe lanes for {seconds_of(Condition.NARROW):.0f} s"
        yield DeviceFinding(Health.UNHEALTHY, Reason.PCIE, text, RecommendedAction.CHECK_MECHANICALS, 0.8, latest.at)
    if seconds_of(Condition.HUNG) >= policy.hang.suspect_s:
        text = f"busy, and nothing moves, for {seconds_of(Condition.HUNG):.0f} s"
        yield DeviceFinding(Health.SUSPECT, Reason.HUNG, text, RecommendedAction.RESTART_APP, 0.5, latest.at)
    if seconds_of(Condition.VERY_SLOW) >= peers.for_s:
        text = f"over {peers.unhealthy_drop:.0%} slower than its peers for {seconds_of(Condition.VERY_SLOW):.0f} s"
        yield DeviceFinding(Health.UNHEALTHY, Reason.SLOW, text, RecommendedAction.RESET, 0.7, latest.at)
    elif seconds_of(Condition.SLOW) >= peers.for_s:
        text = f"over {peers.suspect_drop:.0%} slower than its peers for {seconds_of(Condition.SLOW):.0f} s"
        yield DeviceFinding(Health.SUSPECT, Reason.SLOW, text, RecommendedAction.NONE, 0.6, latest.at)


def _hottest(latest: Reading, policy: Policy) -> str:
    """Which of its temperatures is too high: a GPU may be cool beside memory that is not."""
    core, memory = (latest.fields.get(field, -math.inf) for field in (Field.TEMPERATURE, Field.MEMORY_TEMPERATURE))
    is_memory = core < policy.heat.hot_c and memory >= policy.heat.memory_hot_c
    return f"memory {memory:.0f} degrees C" if is_memory else f"{core:.0f} degrees C"
