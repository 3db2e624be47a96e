from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.health.assess import assess, assess_nodes
from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Device, Field, NodeState, Reading, Snapshot, XidEvent
from bulkhead.health.policy import Policy
from bulkhead.health.verdict import DeviceVerdict, Health, Reason
from bulkhead.health.window import EvidenceWindow
from bulkhead.xids import RecommendedAction

POLICY = Policy()
DEVICE = Device("GPU-1", "node", "H100", "0000:01:00")
FINE = {Field.TEMPERATURE: 50.0, Field.LAST_XID: 0.0}


def window(at: float = 0.0, **fields: float) -> EvidenceWindow:
    made = EvidenceWindow(DEVICE)
    made.take(Reading(DEVICE, at, {**FINE, **{Field(name): value for name, value in fields.items()}}), "dcgm", POLICY)
    return made


def verdict(
    health: Health, at: float, name: str = "GPU-1", action: RecommendedAction = RecommendedAction.NONE
) -> DeviceVerdict:
    device = replace(DEVICE, uuid=name)
    return DeviceVerdict(device, health, Reason.XID, "Xid 79", action, 0.9, since=at, evidence_at=at)


def test_an_unhealthy_device_stays_so_for_a_while_after_the_last_evidence() -> None:
    before = verdict(Health.UNHEALTHY, at=1000.0)
    early = 1000.0 + POLICY.unhealthy_clear_s - 1
    assert assess(window(early), POLICY, early, before).health is Health.UNHEALTHY
    late = 1000.0 + POLICY.unhealthy_clear_s
    assert assess(window(late), POLICY, late, before).health is Health.HEALTHY


def test_silence_heals_nothing() -> None:
    assert assess(window(0.0), POLICY, 1e6, verdict(Health.UNHEALTHY, at=0.0)).health is Health.UNHEALTHY
    assert assess(window(0.0), POLICY, 1e6, verdict(Health.SUSPECT, at=0.0)).health is Health.UNKNOWN


def test_a_suspect_device_is_healthy_after_a_shorter_while() -> None:
    before, late = verdict(Health.SUSPECT, at=0.0), POLICY.suspect_clear_s
    assert assess(window(late - 1), POLICY, late - 1, before).health is Health.SUSPECT
    assert assess(window(late), POLICY, late, before).health is Health.HEALTHY


def test_since_is_when_it_began_to_stand_so() -> None:
    first = assess(window(10.0), POLICY, 10.0)
    assert assess(window(20.0), POLICY, 20.0, first).since == 10.0


def test_the_age_of_what_was_last_known_is_told() -> None:
    found = assess(window(0.0), POLICY, 200.0)
    assert (found.health, found.reason, found.age_s) == (Health.UNKNOWN, Reason.STALE, 200.0)


def test_what_is_not_shown_is_told_and_lowers_the_confidence() -> None:
    found = assess(window(), POLICY, 0.0)
    assert (found.health, found.text) == (Health.HEALTHY, "not shown: ECC, row remapping, throttling")
    assert found.confidence == pytest.approx(0.4)
    everything = window(ecc_uncorrected=0, row_remap_failure=0, throttle_reasons=4)
    assert (assess(everything, POLICY, 0.0).confidence, assess(everything, POLICY, 0.0).text) == (1.0, "")


@pytest.mark.parametrize(
    ("value", "action"),
    [(1, RecommendedAction.RESET), (2, RecommendedAction.REBOOT), (4, RecommendedAction.DRAIN_AND_RESET)],
)
def test_what_nvml_asks_for_decides(value: int, action: RecommendedAction) -> None:
    found = assess(window(recovery_action=value), POLICY, 0.0)
    assert (found.health, found.reason, found.action) == (Health.UNHEALTHY, Reason.RECOVERY, action)


def test_two_sources_that_tell_of_one_xid_tell_of_one() -> None:
    made = window()
    made.report(XidEvent(10.0, 31, "ml/train"))
    made.report(XidEvent(12.0, 31, text="pid=1"))
    assert made.xids == [XidEvent(10.0, 31, "ml/train", "pid=1")]


def test_a_count_that_grows_is_of_now_though_its_xid_was_there_before() -> None:
    made = window()
    made.report(XidEvent(10.0, 48, certain=False))
    made.report(XidEvent(40.0, 48, "ml/train"))
    made.report(XidEvent(50.0, 48, certain=False))
    assert made.xids == [XidEvent(40.0, 48, "ml/train")]
    assert assess(made, POLICY, 60.0).health is Health.UNHEALTHY


def test_a_line_of_a_trace_of_unknown_age_has_its_own_time() -> None:
    made = window()
    made.report(XidEvent(10.0, 48, "ml/train", certain=False))
    made.report(XidEvent(5.0, 48, text="pid=1"))
    assert made.xids == [XidEvent(5.0, 48, "ml/train", "pid=1")]


def test_a_link_that_fails_for_good_after_it_has_erred_is_unhealthy() -> None:
    made = window()
    for at, severity in ((10.0, "Nonfatal"), (20.0, "Nonfatal"), (40.0, "Fatal"), (50.0, "Fatal")):
        made.report(XidEvent(at, 145, text=f"RLW_RXPIPE {severity} XC0 i0 Link 13 (0x0409a0c2 0x00000008)"))
    assert [one.at for one in made.xids] == [10.0, 40.0]
    assert assess(made, POLICY, 60.0).health is Health.UNHEALTHY


def test_an_nvlink_event_that_ends_a_program_alone_leaves_the_device_unless_a_154_asks() -> None:
    made = window()
    for at in range(-400, 1, 100):
        made.report(XidEvent(at, 145, text="RLW_SRC_TRACK Nonfatal XC1 i0 Link 17 (0x000000e2 0x00000004)"))
    assert assess(made, POLICY, 1.0).health is Health.HEALTHY
    made.report(XidEvent(1.0, 154, text="GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"))
    found = assess(made, POLICY, 1.0)
    assert (found.health, found.action) == (Health.UNHEALTHY, RecommendedAction.RESET)


def test_the_driver_may_state_another_action_a_moment_later() -> None:
    made = window()
    made.report(XidEvent(10.0, 79, text="GPU has fallen off the bus."))
    for at, stated in ((11.0, "0x0 (None) to 0x4"), (20.0, "0x4 (Drain and Reset) to 0x1"), (21.0, "0x1 (…) to 0x4")):
        made.report(XidEvent(at, 154, text=f"GPU recovery action changed from {stated} (…)"))
        made.report(XidEvent(at, 154, text=f"GPU recovery action changed from {stated} (…)"))
    assert [one.at for one in made.xids] == [10.0, 11.0, 20.0, 21.0]
    assert assess(made, POLICY, 30.0).action is RecommendedAction.DRAIN_AND_RESET


def test_a_programs_flood_of_lines_is_one_event_a_minute() -> None:
    made = window()
    for number in range(2000):
        made.report(XidEvent(number / 100, 13, text=f"Graphics SM Warp Exception on (GPC {number})"))
    assert len(made.xids) == 1


def test_another_source_counts_from_another_beginning() -> None:
    made = window(ecc_uncorrected=0)
    made.take(Reading(DEVICE, 15.0, {**FINE, Field.ECC_UNCORRECTED: 7.0}), "nvml", POLICY)
    assert assess(made, POLICY, 15.0).health is Health.HEALTHY


def test_a_device_that_only_a_log_knows_is_judged_by_it() -> None:
    fleet = Fleet(POLICY)
    poll = Snapshot("kernel", 0.0, xids={"pci/node/0000:09:00": [XidEvent(0.0, 79)]})
    found = fleet.take([poll], 0.0).devices["pci/node/0000:09:00"]
    assert (found.health, found.action, found.device.node) == (Health.UNHEALTHY, RecommendedAction.REBOOT, "node")


def test_a_node_is_unhealthy_by_a_reboot_or_by_several_devices() -> None:
    def health(*verdicts: DeviceVerdict) -> Health:
        return assess_nodes(verdicts, {}, POLICY)["node"].health

    assert (
        health(verdict(Health.UNHEALTHY, 0.0, action=RecommendedAction.REBOOT), verdict(Health.HEALTHY, 0.0, "GPU-2"))
        is Health.UNHEALTHY
    )
    assert health(verdict(Health.UNHEALTHY, 0.0), verdict(Health.HEALTHY, 0.0, "GPU-2")) is Health.SUSPECT
    assert health(verdict(Health.UNHEALTHY, 0.0), verdict(Health.UNHEALTHY, 0.0, "GPU-2")) is Health.UNHEALTHY
    assert health(verdict(Health.UNKNOWN, 0.0)) is Health.UNKNOWN


def test_what_the_cluster_says_of_a_node_counts() -> None:
    def found(state: NodeState) -> tuple[Health, str]:
        node = assess_nodes([verdict(Health.HEALTHY, 0.0)], {"node": state}, POLICY)["node"]
        return node.health, node.text

    assert found(NodeState("node", ready=True)) == (Health.HEALTHY, "")
    assert found(NodeState("node", ready=False))[0] is Health.UNKNOWN
    assert found(NodeState("node", faults=("GpuLost: one",))) == (Health.SUSPECT, "GpuLost: one")


FIELDS = st.dictionaries(st.sampled_from(list(Field)), st.floats(0, 1e15), max_size=8)


@given(st.lists(st.tuples(st.floats(0, 1e6), FIELDS), max_size=6), st.floats(0, 2e6))
def test_any_readings_in_any_order_have_a_verdict(readings: list[tuple[float, dict[Field, float]]], now: float) -> None:
    made, previous = EvidenceWindow(DEVICE), None
    for at, fields in readings:
        made.take(Reading(DEVICE, at, fields), "dcgm", POLICY)
        previous = assess(made, POLICY, now, previous)
    assert isinstance(assess(made, POLICY, now, previous).health, Health)
