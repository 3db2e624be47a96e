"""The ledger that the Control Room is timed over: whatever it shows of one that was lived in, it shows of this."""

from pathlib import Path

import pytest

from benchmarks import full_ledger
from benchmarks.full_ledger import Size, service_name
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase
from bulkhead.settings import FleetSettings
from bulkhead.web.fleet_reader import FleetReader
from bulkhead.web.reader import LedgerReader

SIZE = Size(services=8, rollouts=40, gpus=1000, going=2)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    full_ledger.fill(made, SIZE)
    return made


def test_it_has_what_was_asked_for_and_each_of_it_can_be_shown(ledger: Ledger) -> None:
    reading, fleet = LedgerReader(ledger), FleetReader(ledger, FleetSettings())
    assert reading.services().total == SIZE.services
    assert [rollout.service for rollout in ledger.rollouts.active()] == [service_name(0), service_name(1)]
    phases = set()
    for number in range(1, SIZE.rollouts + 1):
        release = reading.release(number)
        phases.add(release.phase)
        assert release.events[0].words and (release.words or not Phase(release.phase).ended)
        assert reading.course(number).measurements
    assert phases == {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ANALYSING}
    assert fleet.devices("", None, 0, 1).total == SIZE.gpus
    assert fleet.fleet().quarantines == 2


def test_a_watch_that_finds_the_same_changes_nothing(ledger: Ledger) -> None:
    before = ledger.overview.changes()
    full_ledger.watch(ledger, SIZE.gpus)
    assert ledger.overview.changes() == before
