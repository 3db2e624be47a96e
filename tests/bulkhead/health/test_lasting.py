"""Rules over what lasts: heat, power, narrow links, work without progress."""

import pytest

from bulkhead.health.conditions import Condition
from bulkhead.health.observation import Field
from bulkhead.health.policy import Hang, Heat, Links, Peers, Policy
from bulkhead.health.verdict import DeviceFinding, Health, Reason
from bulkhead.xids import RecommendedAction
from tests.windows import NOW, WELL, found, window_of


def _lasting(seconds: float, *conditions: Condition, **fields: float) -> list[DeviceFinding]:
    shown = {**WELL, **{Field(name): value for name, value in fields.items()}}
    return found(window_of(fields=shown, since=dict.fromkeys(conditions, NOW - seconds)))


@pytest.mark.parametrize(
    ("condition", "reason", "what"),
    [
        (Condition.HOT, Reason.HEAT, "hot (95 degrees C)"),
        (Condition.THROTTLED, Reason.HEAT, "throttled for heat"),
        (Condition.BRAKED, Reason.POWER, "slowed by the power brake"),
    ],
)
def test_heat_and_power_are_suspect_and_then_unhealthy(condition: Condition, reason: Reason, what: str) -> None:
    def message(health: Health, seconds: int) -> list[DeviceFinding]:
        return [DeviceFinding(health, reason, f"{what} for {seconds} s", RecommendedAction.CHECK_MECHANICALS, 0.8, NOW)]

    assert _lasting(59, condition, temperature_c=95) == []
    assert _lasting(60, condition, temperature_c=95) == message(Health.SUSPECT, 60)
    assert _lasting(599, condition, temperature_c=95) == message(Health.SUSPECT, 599)
    assert _lasting(600, condition, temperature_c=95) == message(Health.UNHEALTHY, 600)


def test_it_says_which_of_its_temperatures_is_too_high() -> None:
    def message(**degrees: float) -> str:
        (found,) = _lasting(60, Condition.HOT, **degrees)
        return found.text

    assert message(temperature_c=92, memory_temperature_c=105) == "hot (92 degrees C) for 60 s"
    assert message(temperature_c=91, memory_temperature_c=105) == "hot (memory 105 degrees C) for 60 s"
    assert message(temperature_c=91, memory_temperature_c=104) == "hot (91 degrees C) for 60 s"
    since = {Condition.HOT: NOW - 60}
    assert found(window_of(fields={Field.MEMORY_TEMPERATURE: 105}, since=since))[-1].text.startswith("hot (memory 105 ")


def test_fewer_lanes_than_it_has_are_unhealthy() -> None:
    lanes = {"pcie_width": 8, "pcie_width_max": 16}
    assert _lasting(119, Condition.NARROW, **lanes) == []
    message = "8 of 16 PCIe lanes for 120 s"
    unhealthy = DeviceFinding(Health.UNHEALTHY, Reason.PCIE, message, RecommendedAction.CHECK_MECHANICALS, 0.8, NOW)
    assert _lasting(120, Condition.NARROW, **lanes) == [unhealthy]


def test_busy_without_progress_is_suspect_and_never_unhealthy() -> None:
    assert _lasting(599, Condition.HUNG) == []
    message = "busy, and nothing moves, for 100000 s"
    assert _lasting(100_000, Condition.HUNG) == [
        DeviceFinding(Health.SUSPECT, Reason.HUNG, message, RecommendedAction.RESTART_APP, 0.5, NOW)
    ]
    assert len(_lasting(600, Condition.HUNG)) == 1


def test_slower_than_its_peers_is_suspect_and_much_slower_unhealthy() -> None:
    message = "over 5% slower than its peers for 300 s"
    slow = DeviceFinding(Health.SUSPECT, Reason.SLOW, message, RecommendedAction.NONE, 0.6, NOW)
    assert _lasting(299, Condition.SLOW, Condition.VERY_SLOW) == []
    assert _lasting(300, Condition.SLOW) == [slow]
    message = "over 20% slower than its peers for 300 s"
    very = DeviceFinding(Health.UNHEALTHY, Reason.SLOW, message, RecommendedAction.RESET, 0.7, NOW)
    assert _lasting(300, Condition.SLOW, Condition.VERY_SLOW) == [very]


def test_what_is_not_so_has_not_even_lasted_for_no_time() -> None:
    at_once = Policy(
        heat=Heat(suspect_s=0, unhealthy_s=0), links=Links(narrow_s=0), hang=Hang(suspect_s=0), peers=Peers(for_s=0)
    )
    assert found(window_of(since={Condition.FROZEN: NOW}), at_once) == []
    assert len(found(window_of(since={Condition.HOT: NOW}), at_once)) == 1
