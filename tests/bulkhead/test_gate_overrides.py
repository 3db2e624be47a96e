from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given

from bulkhead.errors import InvalidInputError
from bulkhead.gate_overrides import LONGEST, GateOverride, override
from tests.hostile import TEXT

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_it_holds_from_its_time_until_its_end() -> None:
    word = override("ada", "mended", NOW, NOW + DAY)
    times = (NOW - timedelta(seconds=1), NOW, NOW + DAY - timedelta(seconds=1), NOW + DAY)
    assert [word.active(at) for at in times] == [False, True, True, False]


def test_a_zone_is_understood_and_shown_in_utc() -> None:
    until = datetime(2026, 12, 1, 9, 30, tzinfo=timezone(timedelta(hours=9)))
    assert override("ada", "mended", NOW, until).sentence() == "ada lets it pass until 2026-12-01 00:30 UTC: mended"


@pytest.mark.parametrize("until", [NOW, NOW - DAY, NOW + LONGEST + timedelta(seconds=1)])
def test_one_that_has_ended_or_would_hold_for_too_long_is_refused(until: datetime) -> None:
    with pytest.raises(InvalidInputError, match=r"until = '.*': give a time within 30 days from now, such as "):
        override("ada", "mended", NOW, until)


@pytest.mark.parametrize("reason", ["", " "])
def test_it_has_a_reason(reason: str) -> None:
    with pytest.raises(InvalidInputError, match=r"reason = .*: say why"):
        override("ada", reason, NOW, NOW + DAY)


@given(TEXT)
def test_whatever_its_reason_it_is_read_as_it_was_written(reason: str) -> None:
    if reason.strip():
        word = override("ada", reason, NOW, NOW + DAY)
        assert GateOverride.model_validate_json(word.model_dump_json()) == word
