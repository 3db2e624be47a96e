"""From the ledger to documents: what serves, what wants a person, what a release has been through."""

import pytest

from bulkhead.errors import NotFoundError
from bulkhead.events import EventKind
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.pods.identity import run_owner
from bulkhead.rollout.plan import Plan, Step
from bulkhead.web.documents import Attention
from bulkhead.web.reader import LedgerReader
from tests.rollouts import advance, promote, request, revision

SECRET = "s3cr3t-of-the-server"


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    return Ledger(ledger_url)


@pytest.fixture
def reading(ledger: Ledger) -> LedgerReader:
    return LedgerReader(ledger)


def _split(reading: LedgerReader) -> dict[str, int]:
    return {f"{share.role} {share.revision}": share.percent for share in reading.service("digits").split}


def test_a_service_says_what_serves_and_what_is_in_progress(ledger: Ledger, reading: LedgerReader) -> None:
    stable = promote(ledger, "old").revision_id
    assert _split(reading) == {f"stable {stable}": 100}
    rollout = request(ledger, "new", owner=run_owner("release", "manual__2026"))
    service = reading.service("digits")
    assert service.stable is not None and service.stable.id == stable
    assert service.release is not None and (service.release.id, service.release.phase) == (rollout.id, "requested")
    assert (service.release.dag_id, service.release.run_id) == ("release", "manual__2026")
    assert service.last is not None and service.last.phase == "promoted"
    assert service.attention is Attention.NONE and service.why is None


def test_its_split_follows_the_release(ledger: Ledger, reading: LedgerReader) -> None:
    stable = promote(ledger, "old").revision_id
    rollout = request(ledger, "new")
    new, seen = rollout.revision_id, {}
    plan = [(Phase.LAUNCHED, 0), (Phase.SHIFTING, 0), (Phase.ANALYSING, 50)]
    for phase, percent in plan:
        rollout = advance(ledger, rollout, phase)
        seen[phase] = _split(reading)
        assert seen[phase] == {f"stable {stable}": 100 - percent, f"candidate {new}": percent}
    rollout = ledger.rollouts.transition(rollout, Phase.SHIFTING, "shifting", {}, step=1)
    assert _split(reading)[f"candidate {new}"] == 50  # the way to 100 % is not confirmed yet
    rollout = advance(ledger, rollout, Phase.PROMOTING)
    assert _split(reading) == {f"stable {stable}": 0, f"candidate {new}": 100}
    ledger.rollouts.abort(rollout, "it fails", {"rule": "errors"})
    assert _split(reading) == {f"stable {stable}": 100, f"candidate {new}": 0}


def test_a_first_release_has_no_stable_revision_beside_it(ledger: Ledger, reading: LedgerReader) -> None:
    rollout = advance(ledger, request(ledger, "new"), Phase.ANALYSING)
    assert _split(reading) == {f"candidate {rollout.revision_id}": 50}
    assert reading.service("digits").stable is None


def test_what_wants_a_person_stands_first_the_most_urgent_of_all(ledger: Ledger, reading: LedgerReader) -> None:
    for name in ("a-fine", "b-back", "c-waits", "d-fails", "e-isolated"):
        promote(ledger, name, service=name)
    ledger.rollouts.abort(request(ledger, "bad", service="b-back"), "63 of 212 requests failed", {"rule": "errors"})
    back = ledger.rollouts.active_of("b-back")
    assert back is not None
    for phase in (Phase.UNALIASING, Phase.DRAINING, Phase.ROLLED_BACK):
        back = ledger.rollouts.transition(back, phase, str(phase), {})
    asked = Plan(steps=(Step(weight=50, approve=True), Step(weight=100)), step_s=0).model_dump(mode="json")
    columns = revision("new", "c-waits").columns()
    waiting = advance(
        ledger, ledger.rollouts.request(columns, asked, Request("k", "", "x"), owner="o"), Phase.ANALYSING
    )
    ledger.rollouts.transition(waiting, Phase.APPROVING, "approving", {})
    ledger.events.record("d-fails", EventKind.FAILING, {"for": "its router", "why": "it does not answer"})
    ledger.events.record("a-fine", EventKind.FAILING, {"for": "its router", "why": "it does not answer"})
    ledger.events.record("a-fine", EventKind.RECOVERED, {"for": "its router"})
    isolated = ledger.services.get("e-isolated").stable_revision or ""
    ledger.isolations.isolate(isolated, Request("i", "it leaks", "x"), levels=(IsolationLevel.TRAFFIC,))

    page = reading.services()
    assert [(one.name, one.attention) for one in page.items] == [
        ("c-waits", Attention.APPROVAL),
        ("d-fails", Attention.FAILING),
        ("b-back", Attention.ROLLED_BACK),
        ("e-isolated", Attention.ISOLATED),
        ("a-fine", Attention.NONE),
    ]
    why = {one.name: one.why for one in page.items}
    assert why["c-waits"] == "Step 1 waits for a person to approve."
    assert why["d-fails"] == "its router: it does not answer"
    assert "63 of 212 requests failed" in (why["b-back"] or "")
    assert isolated in (why["e-isolated"] or "")


def test_services_come_by_pages_and_by_parts_of_their_name(ledger: Ledger, reading: LedgerReader) -> None:
    for index in range(5):
        promote(ledger, f"{index}", service=f"words-{index}")
    promote(ledger, "old", service="digits")
    first = reading.services(search="WORDS", limit=2)
    assert ([one.name for one in first.items], first.total, first.next) == (["words-0", "words-1"], 5, 2)
    last = reading.services(search="words", offset=4, limit=2)
    assert ([one.name for one in last.items], last.next) == (["words-4"], None)


def test_releases_come_newest_first_by_pages(ledger: Ledger, reading: LedgerReader) -> None:
    ids = [promote(ledger, name).id for name in "abcd"]
    first = reading.releases(limit=3)
    assert ([one.id for one in first.items], first.next) == (ids[:0:-1], ids[1])
    assert [one.id for one in reading.releases(before=first.next, limit=3).items] == ids[:1]


def test_a_dag_run_leads_to_what_it_has_released(ledger: Ledger, reading: LedgerReader) -> None:
    rollout = request(ledger, "new", owner=run_owner("release", "manual/2026+01"))
    assert [one.id for one in reading.releases(run=("release", "manual/2026+01")).items] == [rollout.id]
    assert reading.releases(run=("release", "another")).items == []


def test_a_release_has_its_way_its_evidence_and_its_events(ledger: Ledger, reading: LedgerReader) -> None:
    promote(ledger, "old")
    spec = revision("new", evidence={"accuracy": 0.97}, serve={"env": {"TOKEN": SECRET}})
    plan = Plan(steps=(Step(mirror=10), Step(weight=50, approve=True), Step(weight=100))).model_dump(mode="json")
    rollout = ledger.rollouts.request(spec.columns(), plan, Request("k", "better", "ada"), owner="somebody")
    ledger.rollouts.abort(rollout, "it fails", {"rule": "errors", "numbers": {"candidate": {"requests": 3}}})
    release = reading.release(rollout.id)
    assert [(step.weight, step.mirror, step.approve) for step in release.plan] == [
        (0, 10, False),
        (50, 0, True),
        (100, 0, False),
    ]
    assert release.evidence == {"accuracy": 0.97} and not release.serves
    assert release.decision == {"rule": "errors", "numbers": {"candidate": {"requests": 3}}}
    assert [event.kind for event in release.events] == ["requested", "rollback"]
    assert "asked for by ada" in (release.events[0].words or "") and "it fails" in (release.events[1].words or "")
    assert release.replaces is not None and release.replaces.id == rollout.stable_id
    assert (release.dag_id, release.run_id) == (None, None)
    assert SECRET not in release.model_dump_json()


def test_a_plan_that_cannot_be_read_leaves_the_rest(ledger: Ledger, reading: LedgerReader) -> None:
    columns = revision("new").columns()
    rollout = ledger.rollouts.request(columns, {"steps": "of another version"}, Request("k", "", "x"), owner="o")
    release = reading.release(rollout.id)
    assert (list(release.plan), release.steps, release.revision) == ([], 0, rollout.revision_id)
    assert _split(reading) == {f"candidate {rollout.revision_id}": 0}


def test_what_there_is_not_is_said_by_its_name(reading: LedgerReader) -> None:
    with pytest.raises(NotFoundError, match="77"):
        reading.release(77)
    with pytest.raises(NotFoundError, match="nothing"):
        reading.service("nothing")
