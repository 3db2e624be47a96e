from datetime import UTC, datetime, timedelta

import pytest

from bulkhead.gate_overrides import GateOverride, override
from bulkhead.gpu_tasks.gate.verdict import decide

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WORD = override("ada", "mended", NOW, NOW + timedelta(hours=1))
LATER = NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    ("refusals", "word", "now", "passes", "used"),
    [
        ([], None, NOW, True, False),
        ([], WORD, NOW, True, False),
        (["worse"], None, NOW, False, False),
        (["worse"], WORD, NOW, True, True),
        (["worse"], WORD, LATER, False, False),
    ],
)
def test_a_persons_word_counts_while_it_holds(
    refusals: list[str], word: GateOverride | None, now: datetime, passes: bool, used: bool
) -> None:
    verdict = decide(refusals, word, now)
    assert (verdict.passed, verdict.override_used) == (passes, used)
    assert (verdict.details()["override"] is None) == (word is None)


def test_it_is_in_the_evidence_also_where_it_was_not_needed() -> None:
    sentence = "ada lets it pass until 2026-11-30 13:00 UTC: mended"
    assert decide([], WORD, LATER).evidence() == {"gate_override": sentence}
    assert decide(["worse", "slower"], WORD, NOW).evidence() == {"gate_override": sentence, "overridden": "worse"}
    assert decide([], None, NOW).evidence() == {}


def test_one_that_has_expired_is_told_beside_the_reasons() -> None:
    first, second = decide(["worse"], WORD, LATER).refusals
    assert (first, second.partition(" (")[0]) == ("worse", "an override has expired")
