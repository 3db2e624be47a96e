"""The ledger as Prometheus reads it."""

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bulkhead.errors import UnavailableError
from bulkhead.ledger.statistics import BOUNDS_S, Durations, LedgerNumbers
from bulkhead.monitoring.ledger_metrics import LedgerMetrics

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
NUMBERS = LedgerNumbers(
    ended={("digits", "promoted", ""): 7, ("digits", "rolled_back", "errors"): 2},
    in_progress={("digits", "analysing"): 1},
    detection={"digits": Durations([0] * (len(BOUNDS_S) - 1) + [2], 2, 100.5)},
    rollback={},
    oldest={"rollout": NOW - timedelta(seconds=90), "isolation": None, "launch": NOW + timedelta(seconds=5)},
    leases={"digits": "host-1"},
    isolations={"model": 3},
    launches=4,
    quarantines={("device", "held"): 5},
    quarantined={"H100": 5},
    gate={("digits", "refused"): 6},
    services=["digits", "words"],
)


def _read(numbers: LedgerNumbers) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(LedgerMetrics(lambda: numbers, lambda: NOW))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_number_is_a_metric() -> None:
    read = _read(NUMBERS)
    ended = "bulkhead_rollouts_total"
    assert read[ended, (("result", "promoted"), ("rule", ""), ("service", "digits"))] == 7
    assert read[ended, (("result", "rolled_back"), ("rule", "errors"), ("service", "digits"))] == 2
    assert read["bulkhead_rollouts_in_progress", (("phase", "analysing"), ("service", "digits"))] == 1
    assert read["bulkhead_detection_seconds_count", (("service", "digits"),)] == 2
    assert read["bulkhead_detection_seconds_sum", (("service", "digits"),)] == 100.5
    assert read["bulkhead_detection_seconds_bucket", (("le", "3600.0"), ("service", "digits"))] == 2
    assert read["bulkhead_detection_seconds_bucket", (("le", "+Inf"), ("service", "digits"))] == 2
    assert read["bulkhead_lease", (("holder", "host-1"), ("service", "digits"))] == 1
    assert read["bulkhead_isolations", (("level", "model"),)] == 3
    assert read["bulkhead_launches", ()] == 4
    assert read["bulkhead_quarantines", (("kind", "device"), ("phase", "held"))] == 5
    assert read["bulkhead_quarantined_devices", (("model", "H100"),)] == 5
    verdicts = "bulkhead_gate_verdicts_total"
    assert read[verdicts, (("model_name", "digits"), ("result", "refused"))] == 6
    assert read[verdicts, (("model_name", "digits"), ("result", "passed"))] == 0
    assert read["bulkhead_service", (("service", "words"),)] == 1
    assert read["bulkhead_ledger_up", ()] == 1


def test_a_counter_is_there_before_it_counts() -> None:
    """Prometheus sees no increase in a series that begins with 1."""
    read = _read(NUMBERS)
    for service, result in (("digits", "rolled_back"), ("words", "promoted"), ("words", "rolled_back")):
        assert read["bulkhead_rollouts_total", (("result", result), ("rule", ""), ("service", service))] == 0


def test_ages_are_never_below_zero() -> None:
    read = _read(NUMBERS)
    ages = {work: read["bulkhead_oldest_unfinished_seconds", (("work", work),)] for work in NUMBERS.oldest}
    assert ages == {"rollout": 90, "isolation": 0, "launch": 0}  # another machine's clock may be ahead


def test_a_ledger_that_does_not_answer_is_a_metric_and_no_error() -> None:
    def away() -> LedgerNumbers:
        raise UnavailableError("the ledger does not answer")

    registry = CollectorRegistry()
    registry.register(LedgerMetrics(away))
    assert registry.get_sample_value("bulkhead_ledger_up") == 0
    assert registry.get_sample_value("bulkhead_launches") is None


def test_a_name_with_quotes_stays_one_label() -> None:
    read = _read(LedgerNumbers(**{**vars(NUMBERS), "leases": {"digits": 'a"b\\c\nd'}}))
    assert read["bulkhead_lease", (("holder", 'a"b\\c\nd'), ("service", "digits"))] == 1
