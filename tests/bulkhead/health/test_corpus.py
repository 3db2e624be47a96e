"""Every scenario of the corpus has the verdict that it should have; none of them quarantines what is not unhealthy."""

from __future__ import annotations

from typing import Any

import pytest

from bulkhead.health.verdict import Assessment, Health
from tests.bulkhead.health.scenarios import NAMES, Play, scenarios

SCENARIOS = scenarios()


def expected(scenario: dict[str, Any]) -> dict[str, dict[str, str]]:
    message = scenario["expect"]
    return {name: {"health": "healthy", **message.get("all", {}), **message.get(name, {})} for name in NAMES}


def shown(assessment: Assessment, name: str, fields: dict[str, str]) -> dict[str, str]:
    verdict = assessment.devices[f"GPU-{name}"]
    return {field: str(getattr(verdict, field)) for field in fields}


def test_corpus_is_large_enough() -> None:
    assert len(SCENARIOS) >= 40
    assert len({one["name"] for one in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one["name"] for one in SCENARIOS])
def test_scenario_ends_with_the_right_verdicts(scenario: dict[str, Any]) -> None:
    assessment = Play(scenario).end()
    wanted = expected(scenario)
    assert {name: shown(assessment, name, fields) for name, fields in wanted.items()} == wanted


def test_no_scenario_calls_a_healthy_device_unhealthy_at_any_look(capsys: pytest.CaptureFixture[str]) -> None:
    right = wrong = missed = 0
    for scenario in SCENARIOS:
        ever: set[str] = set()
        assessment = None
        for assessment in Play(scenario).assessments():
            ever |= {device.device.uuid for device in assessment.devices.values() if device.health is Health.UNHEALTHY}
        recovered = "healthy again" in scenario["name"]
        truly = {f"GPU-{name}" for name, one in expected(scenario).items() if one["health"] == "unhealthy"}
        if recovered:
            truly |= {"GPU-a3"}
        right, wrong, missed = right + len(ever & truly), wrong + len(ever - truly), missed + len(truly - ever)
    with capsys.disabled():
        print(
            f"\n{len(SCENARIOS)} scenarios: precision {right / (right + wrong):.3f}, "
            f"recall {right / (right + missed):.3f} of {right + missed} unhealthy devices"
        )
    assert wrong == 0, "a healthy device was called unhealthy: a false quarantine"
    assert missed == 0
