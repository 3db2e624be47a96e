"""Each rule over a device's window: what it says, and at which number it begins to."""

import pytest

from bulkhead.health.conditions import Condition
from bulkhead.health.observation import Field, Reading, XidEvent
from bulkhead.health.policy import Policy
from bulkhead.health.rules import unseen
from bulkhead.health.verdict import DeviceFinding, Health, Reason
from bulkhead.health.window import EvidenceWindow
from bulkhead.xids import RecommendedAction, row_of
from tests.windows import DEVICE, NOW, POLICY, WELL, found, window_of


def test_nothing_is_found_of_a_device_that_is_well() -> None:
    assert found(window_of()) == []


# Doubts


def test_what_no_source_shows_is_unknown() -> None:
    window = EvidenceWindow(DEVICE, xids=[XidEvent(NOW, 79)])
    doubt, xid = found(window)
    assert doubt == DeviceFinding(
        Health.UNKNOWN, Reason.NO_DATA, "no source shows it", RecommendedAction.NONE, 1.0, NOW
    )
    assert xid.reason is Reason.XID  # what a log said of it counts all the same


@pytest.mark.parametrize("missing", [1, 2])
def test_a_device_that_its_nodes_source_shows_no_more_is_gone(missing: int) -> None:
    text = "dcgm shows node node-a and has not shown this device 2 times"
    gone = DeviceFinding(Health.UNHEALTHY, Reason.GONE, text, RecommendedAction.REBOOT, 0.8, NOW)
    assert found(window_of(NOW - 1000, missing=missing))[:1] == (
        [gone]
        if missing == 2
        else [
            DeviceFinding(
                Health.UNKNOWN, Reason.STALE, "last seen 1000 s ago by dcgm", RecommendedAction.NONE, 1.0, NOW
            )
        ]
    )


@pytest.mark.parametrize(("age_s", "stale"), [(90, False), (91, True)])
def test_a_reading_grows_old(age_s: float, stale: bool) -> None:
    assert [one.reason for one in found(window_of(NOW - age_s))] == ([Reason.STALE] if stale else [])


@pytest.mark.parametrize(("seconds", "frozen"), [(179, False), (180, True)])
def test_numbers_that_do_not_move_are_not_believed(seconds: float, frozen: bool) -> None:
    message = DeviceFinding(
        Health.UNKNOWN, Reason.FROZEN, "its numbers have not moved for 180 s", RecommendedAction.NONE, 1.0, NOW - 5
    )
    window = window_of(NOW - 5, since={Condition.FROZEN: NOW - 5 - seconds})
    assert found(window) == ([message] if frozen else [])


@pytest.mark.parametrize("sign", [Field.TEMPERATURE, Field.POWER, Field.SM_CLOCK, Field.UTILISATION])
def test_a_device_without_any_sign_of_life_is_unknown(sign: Field) -> None:
    silent = {field: value for field, value in WELL.items() if field is not Field.TEMPERATURE}
    message = "dcgm shows neither temperature, power, clock nor utilisation"
    assert found(window_of(NOW - 1, silent)) == [DeviceFinding(Health.UNKNOWN, Reason.NO_DATA, message, at=NOW - 1)]
    assert found(window_of(NOW - 1, {**silent, sign: 1})) == []


def test_a_source_that_tells_of_no_fault_at_all_says_nothing() -> None:
    message = "dcgm shows nothing of Xids, ECC, row remapping, throttling"
    window = window_of(NOW - 1, {Field.TEMPERATURE: 50})
    assert found(window) == [DeviceFinding(Health.UNKNOWN, Reason.NO_DATA, message, at=NOW - 1)]
    assert found(window_of(NOW, {Field.TEMPERATURE: 50, Field.THROTTLE_REASONS: 0})) == []


def test_what_a_reading_says_nothing_of_is_named() -> None:
    assert unseen(Reading(DEVICE, NOW, dict(WELL))) == []
    assert unseen(Reading(DEVICE, NOW, {})) == ["Xids", "ECC", "row remapping", "throttling"]
    assert unseen(Reading(DEVICE, NOW, {Field.ECC_UNCORRECTED: 0})) == ["Xids", "row remapping", "throttling"]
    assert unseen(Reading(DEVICE, NOW, {}, xid_counts={})) == ["ECC", "row remapping", "throttling"]


# Xids


def _xid(*events: XidEvent, policy: Policy = POLICY) -> list[DeviceFinding]:
    return [one for one in found(window_of(xids=list(events)), policy) if one.reason is Reason.XID]


def _told(
    health: Health, xid: int, action: RecommendedAction, confidence: float, more: str = "", beside: str = ""
) -> DeviceFinding:
    text = f"Xid {xid}{beside}: {row_of(xid).description}{more}"
    return DeviceFinding(health, Reason.XID, text, action, confidence, NOW - 100)


AT = NOW - 100


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([XidEvent(AT, 79)], [_told(Health.UNHEALTHY, 79, row_of(79).action, 0.95)]),
        ([XidEvent(AT, 79, "ml/train")], [_told(Health.UNHEALTHY, 79, row_of(79).action, 0.95, ", under ml/train")]),
        (
            [XidEvent(AT, 79, certain=False)],
            [_told(Health.SUSPECT, 79, row_of(79).action, 0.3, " (found at the first poll: of unknown age)")],
        ),
        ([XidEvent(AT, 9999)], [_told(Health.UNHEALTHY, 9999, RecommendedAction.CONTACT_SUPPORT, 0.5)]),
        ([XidEvent(AT, 13, "ml/train")], []),
        ([XidEvent(AT, 43)], []),
        (
            [XidEvent(AT, 13, "ml/train"), XidEvent(AT + 1, 154, text="changed from 0x0 (None) to 0x4 (Drain)")],
            [_told(Health.UNHEALTHY, 13, RecommendedAction.DRAIN_AND_RESET, 0.95, ", under ml/train", " with 154")],
        ),
        (
            [XidEvent(AT, 13), XidEvent(AT + 1, 154, text="changed from 0x0 (None) to 0x3 (Drain P2P)")],
            [
                _told(
                    Health.SUSPECT,
                    13,
                    RecommendedAction.CHECK_LINK,
                    0.5,
                    " (the driver states: check-link)",
                    " with 154",
                )
            ],
        ),
        ([XidEvent(AT, 13), XidEvent(AT + 1, 154, text="changed from 0x1 (Reset) to 0x0 (None)")], []),
        (
            [XidEvent(AT, 79), XidEvent(AT + 1, 154, text="changed from 0x1 (Reset) to 0x0 (None)")],
            [
                _told(
                    Health.SUSPECT,
                    79,
                    RecommendedAction.NONE,
                    0.6,
                    " (the driver states that nothing is to be done)",
                    " with 154",
                )
            ],
        ),
        (
            [XidEvent(AT - 50, 64), XidEvent(AT, 64)],
            [
                DeviceFinding(
                    Health.UNHEALTHY,
                    Reason.XID,
                    f"Xid 64: {row_of(64).description}, 2 times",
                    RecommendedAction.CONTACT_SUPPORT,
                    0.97,
                    at,
                )
                for at in (AT - 50, AT)
            ],
        ),
        (
            [XidEvent(AT, 48), XidEvent(AT, 63), XidEvent(AT, 45)],
            [_told(Health.UNHEALTHY, 48, RecommendedAction.DRAIN_AND_RESET, 0.95, beside=" with 45, 63")],
        ),
    ],
)
def test_an_xid_says(events: list[XidEvent], expected: list[DeviceFinding]) -> None:
    assert _xid(*events) == expected


def test_what_may_be_eithers_is_the_devices_where_it_comes_again_and_again() -> None:
    """8: a watchdog; 39: a copy engine. Each is counted by itself."""
    events = [XidEvent(AT - 100 * n, 8) for n in range(3)]
    assert {(one.health, one.confidence) for one in _xid(*events[:2])} == {(Health.SUSPECT, 0.5)}
    assert {(one.health, one.confidence, one.text) for one in _xid(*events)} == {
        (Health.UNHEALTHY, 0.7, f"Xid 8: {row_of(8).description}, 3 times")
    }
    others = [*events[:2], XidEvent(AT - 900, 39)]
    assert {(one.health, one.confidence) for one in _xid(*others)} == {(Health.SUSPECT, 0.5)}


@pytest.mark.parametrize(("age_s", "counts"), [(3600, True), (3601, False)])
def test_an_xid_is_forgotten(age_s: float, counts: bool) -> None:
    assert bool(_xid(XidEvent(NOW - age_s, 79))) is counts


def _applications(*events: XidEvent) -> list[DeviceFinding]:
    return [one for one in found(window_of(xids=list(events))) if one.reason is Reason.APPLICATION]


def test_an_applications_xid_speaks_against_the_device_under_one_job_after_the_other() -> None:
    jobs = [XidEvent(NOW - 1000 * n, 31, f"ml/job-{n}") for n in range(1, 4)]
    assert _applications(jobs[0], XidEvent(NOW - 5000, 31, "ml/job-1")) == []
    message = f"Xid 31 ({row_of(31).description}) under 2 different jobs: ml/job-1, ml/job-2"
    assert _applications(*jobs[:2]) == [
        DeviceFinding(Health.SUSPECT, Reason.APPLICATION, message, RecommendedAction.CONTACT_SUPPORT, 0.6, NOW - 1000)
    ]
    message = f"Xid 31 ({row_of(31).description}) under 3 different jobs: ml/job-1, ml/job-2, ml/job-3"
    one = XidEvent(NOW - 9000, 13, "ml/job-9")  # another Xid, under one job, speaks neither for nor against it
    assert _applications(one, *jobs) == [
        DeviceFinding(Health.UNHEALTHY, Reason.APPLICATION, message, RecommendedAction.CONTACT_SUPPORT, 0.6, NOW - 1000)
    ]


@pytest.mark.parametrize(
    "other",
    [
        XidEvent(NOW - 5000, 13, "ml/job-2"),
        XidEvent(NOW - 5000, 31, ""),
        XidEvent(NOW - 5000, 31, "ml/job-2", certain=False),
        XidEvent(NOW - 5000, 8, "ml/job-2"),
        XidEvent(NOW - 604_801, 31, "ml/job-2"),
    ],
)
def test_what_is_no_second_job_of_the_same_xid(other: XidEvent) -> None:
    assert _applications(XidEvent(NOW - 100, 31, "ml/job-1"), other) == []


def test_an_applications_xid_is_remembered_for_a_week() -> None:
    assert len(_applications(XidEvent(NOW - 100, 31, "a/1"), XidEvent(NOW - 604_800, 31, "a/2"))) == 1


# Counters


def _grown(counter: Field, *growth: tuple[float, float], policy: Policy = POLICY) -> list[DeviceFinding]:
    return found(window_of(growth={counter: [(NOW - ago, amount) for ago, amount in growth]}), policy)


@pytest.mark.parametrize(
    ("counter", "growth", "expected"),
    [
        (
            Field.ECC_UNCORRECTED,
            [(3600, 1), (20, 2)],
            DeviceFinding(
                Health.UNHEALTHY, Reason.ECC, "3 uncorrectable ECC errors", RecommendedAction.RESET, 0.95, NOW - 20
            ),
        ),
        (Field.ECC_UNCORRECTED, [(3601, 5)], None),
        (
            Field.ECC_CORRECTED,
            [(3600, 400), (7, 600)],
            DeviceFinding(
                Health.SUSPECT,
                Reason.ECC,
                "1000 correctable ECC errors in an hour",
                RecommendedAction.NONE,
                0.6,
                NOW - 7,
            ),
        ),
        (Field.ECC_CORRECTED, [(3601, 400), (7, 600)], None),
        (
            Field.ROWS_UNCORRECTED,
            [(3600, 1)],
            DeviceFinding(
                Health.SUSPECT,
                Reason.ROW_REMAP,
                "1 rows remapped for uncorrectable errors",
                RecommendedAction.RESET,
                0.7,
                NOW - 3600,
            ),
        ),
        (Field.ROWS_UNCORRECTED, [(3601, 1)], None),
        (
            Field.PCIE_REPLAYS,
            [(300, 30), (3, 10)],
            DeviceFinding(
                Health.SUSPECT,
                Reason.PCIE,
                "8 PCIe replays a minute, over 5 minutes",
                RecommendedAction.CHECK_LINK,
                0.6,
                NOW - 3,
            ),
        ),
        (Field.PCIE_REPLAYS, [(301, 30), (3, 39)], None),
        (
            Field.NVLINK_ERRORS,
            [(300, 400), (3, 100)],
            DeviceFinding(
                Health.SUSPECT,
                Reason.NVLINK,
                "100 NVLink errors a minute, over 5 minutes",
                RecommendedAction.CHECK_LINK,
                0.6,
                NOW - 3,
            ),
        ),
        (Field.NVLINK_ERRORS, [(3, 499)], None),
    ],
)
def test_a_counter_that_grows_says(
    counter: Field, growth: list[tuple[float, float]], expected: DeviceFinding | None
) -> None:
    assert _grown(counter, *growth) == ([expected] if expected else [])


# What the device says itself


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {Field.ROW_REMAP_FAILURE: 1},
            DeviceFinding(
                Health.UNHEALTHY,
                Reason.ROW_REMAP,
                "a row could not be remapped",
                RecommendedAction.CONTACT_SUPPORT,
                0.95,
                NOW,
            ),
        ),
        (
            {Field.ROW_REMAP_PENDING: 1},
            DeviceFinding(
                Health.SUSPECT, Reason.ROW_REMAP, "a remapped row waits for a reset", RecommendedAction.RESET, 0.8, NOW
            ),
        ),
        (
            {Field.RECOVERY_ACTION: 3},
            DeviceFinding(
                Health.SUSPECT,
                Reason.RECOVERY,
                "the driver asks to drain its peer-to-peer traffic",
                RecommendedAction.CHECK_LINK,
                0.9,
                NOW,
            ),
        ),
        *(
            (
                {Field.RECOVERY_ACTION: number},
                DeviceFinding(Health.UNHEALTHY, Reason.RECOVERY, f"the driver asks for: {action}", action, 0.99, NOW),
            )
            for number, action in (
                (1, RecommendedAction.RESET),
                (2, RecommendedAction.REBOOT),
                (4, RecommendedAction.DRAIN_AND_RESET),
                (7, RecommendedAction.CONTACT_SUPPORT),
            )
        ),
        ({Field.RECOVERY_ACTION: 0, Field.ROW_REMAP_PENDING: 0}, None),
    ],
)
def test_a_device_states(fields: dict[Field, float], expected: DeviceFinding | None) -> None:
    assert found(window_of(fields={**WELL, **fields})) == ([expected] if expected else [])
