from __future__ import annotations

import json

import pytest

from bulkhead.health.policy import Policy
from bulkhead.health.record import dump, load
from tests.bulkhead.health.scenarios import Play, scenarios


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one["name"])
def test_a_fleet_is_the_same_after_a_restart(scenario: dict[str, object]) -> None:
    play = Play(scenario)
    play.end()
    restored = load(json.loads(json.dumps(dump(play.fleet))), Policy())
    assert dump(restored) == dump(play.fleet)
    now = 1_000_000.0 + 10_000
    assert restored.take([], now).devices == play.fleet.take([], now).devices


def test_a_restart_in_the_middle_changes_no_verdict() -> None:
    for scenario in scenarios():
        whole, broken = Play(scenario), Play(scenario)
        expected = [one.devices for one in whole.assessments()]
        found = []
        for assessment in broken.assessments():
            found.append(assessment.devices)
            broken.fleet = load(json.loads(json.dumps(dump(broken.fleet))), Policy())
        assert {uuid: one.health for uuid, one in found[-1].items()} == {
            uuid: one.health for uuid, one in expected[-1].items()
        }, scenario["name"]
