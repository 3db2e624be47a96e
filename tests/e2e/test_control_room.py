"""The pages in Airflow's web interface, in a real Chromium: what a person on call sees of the demo's releases."""

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from bulkhead.ledger.fleet import DeviceStand, NodeStand
from bulkhead.ledger.quarantines import Target
from bulkhead.pods.identity import run_owner
from tests.browsers import chromium, logged_in
from tests.e2e.conftest import Kept

pytestmark = pytest.mark.e2e

RUN = "/dags/digits_release/runs/bad-release"
TASK = f"{RUN}/tasks/deploy/plugin/bulkhead-release"
FLEET = "/plugin/bulkhead?fleet=devices"
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def opened(kept: Kept, browser: Browser) -> Iterator[Open]:
    """Opens a page as somebody who has logged in; at the end no page may have complained, but of what is refused."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, *, width: int = 1600, scheme: str = "light", refused: int = 0) -> Page:
        look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        context = browser.new_context(**look)  # type: ignore[arg-type]
        contexts.append(context)
        page = logged_in(context, kept.airflow.url, "admin", kept.password)
        expected = f"the server responded with a status of {refused} "
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" and expected not in said.text else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{kept.airflow.url}{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def fleet(kept: Kept) -> Iterator[None]:
    """What a watch leaves of 32 nodes of 8 GPUs, two of which are sick; a person is to look at one of them."""
    now, ledger = datetime.now(UTC), kept.control.ledger
    sick = {
        "GPU-03-5": ("unhealthy", "xid-79", "Xid 79: the GPU has fallen off the bus", "reset the node"),
        "GPU-17-2": ("suspect", "row-remap", "Rows could not be remapped: 1", "replace the GPU"),
    }
    nodes = [
        NodeStand(f"gpu-node-{node:02}", "NVIDIA-H100", "train", health="healthy", devices=8, healthy=8)
        for node in range(32)
    ]
    devices = [
        DeviceStand(uuid, stand.name, "NVIDIA-H100", *sick.get(uuid, ("healthy", "", "", "")), f"ml/train-{node}", now)
        for node, stand in enumerate(nodes)
        for uuid in (f"GPU-{node:02}-{slot}" for slot in range(8))
    ]
    ledger.fleet.remember({stand.name: {} for stand in nodes}, nodes, devices)
    ledger.quarantines.start(
        Target("GPU-03-5", "device", "gpu-node-03", "NVIDIA-H100", "train"),
        **dict(zip(("reason", "evidence", "action"), sick["GPU-03-5"][1:], strict=True)),
        holder="fleet",
        probation_s=3600,
        evidence_at=now,
        budget=None,
    )
    yield
    ledger.quarantines.end("GPU-03-5", reason="the test is over", holder="test")


def _picture(page: Page, name: str) -> None:
    """Keep a picture for the docs, where BULKHEAD_PICTURES names a folder."""
    folder = os.environ.get("BULKHEAD_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_demos_releases_are_watched_live(kept: Kept) -> None:
    seen = kept.watcher.seen()
    for name, result in (("good", "promoted"), ("bad", "rolled back"), ("hanging", "rolled back")):
        [rollout] = kept.control.ledger.rollouts.latest("digits", run_owner("digits_release", f"{name}-release"))
        sightings = [sighting for sighting in seen if sighting.release == rollout.id]
        phases = [sighting.phase for sighting in sightings]
        assert phases and phases[-1] == result, seen
        assert phases[0] not in ("promoted", "rolled back"), f"release {name} was seen after its end only: {seen}"
        percents = [sighting.percent for sighting in sightings if sighting.percent is not None]
        if name == "good":
            assert percents == sorted(percents) and {10, 50} & set(percents) and percents[-1] == 100, seen
        else:
            assert percents[-1] == 0, seen
    assert [sighting.release for sighting in seen] == sorted(sighting.release for sighting in seen)


def test_what_wants_a_person_is_seen_at_once_and_leads_to_its_release(opened: Open) -> None:
    page = opened("/plugin/bulkhead")
    row = page.get_by_role("row", name=re.compile("digits"))
    expect(row.get_by_text("rolled back", exact=True)).to_be_visible()
    expect(row).to_contain_text("100 % stable")
    expect(row).to_contain_text("deadline")
    _picture(page, "control-room-services")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("of digits")
    expect(page).to_have_url(re.compile(r"/plugin/bulkhead\?release=\d+$"))  # a link to share
    page.get_by_role("link", name="All services").click()
    expect(page.get_by_role("heading", name="Services")).to_be_visible()


def test_the_home_page_names_the_services_that_are_not_well(opened: Open) -> None:
    page = opened("/")
    card = page.locator(".bulkhead")
    expect(card.get_by_text("rolled back", exact=True)).to_be_visible()
    expect(card).to_contain_text("deadline")
    _picture(page, "control-room-home")
    card.get_by_role("link", name="digits").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("of digits")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_bad_release_is_understood_from_its_tasks_tab_alone(opened: Open, scheme: str) -> None:
    page = opened(TASK, scheme=scheme)
    course = page.get_by_role("region", name="How it went")
    for name in ("Traffic: candidate 0 %", "Failed: candidate", "Evidence against it: "):
        expect(course.get_by_role("img", name=name)).to_be_visible()
    if scheme == "light":
        _picture(page, "control-room-release-light")
    else:
        course.get_by_role("img", name="Evidence against it: ").scroll_into_view_if_needed()
        _picture(page, "control-room-course-dark")
    alert = page.locator(".bulkhead").get_by_text(re.compile(r"^Rolled back: revision .* requests failed"))
    expect(alert).to_contain_text("All of the traffic is back on revision")
    expect(alert).to_contain_text("Next: mend the model")
    said = page.get_by_role("region", name="What happened")
    expect(said).to_contain_text(re.compile(r"Step 1 of \d"))
    expect(said).to_contain_text("Its server is ready, on ")
    made_of = page.get_by_role("region", name="What it is")
    expect(made_of.get_by_role("link").first).to_have_attribute("href", re.compile("#/(experiments|models)/"))
    expect(page.get_by_role("button", name="Isolate")).to_be_enabled()
    page.get_by_text("On the command line").click()
    expect(page.get_by_role("region", name="What can be done now")).to_contain_text("bulkhead isolate digits-")
    page.get_by_text("On the command line").click()
    expect(page.locator(".bulkhead")).to_contain_text("model_uri")
    expect(course).to_contain_text("rollback at")
    course.get_by_text("As numbers").click()
    expect(course.get_by_role("row").last).to_contain_text(re.compile(r"failed, .*errors [1-9]"))
    course.get_by_text("As numbers").click()


def test_the_dag_runs_tab_shows_the_same(opened: Open) -> None:
    page = opened(f"{RUN}/plugin/bulkhead-releases")
    expect(page.locator(".bulkhead")).to_contain_text("requests failed")


def test_a_run_that_has_released_nothing_says_so(opened: Open, kept: Kept) -> None:
    kept.start("taskflow", "nothing", {})
    kept.task("taskflow", "nothing", "use", "success")
    page = opened("/dags/taskflow/runs/nothing/tasks/use/plugin/bulkhead-release")
    expect(page.locator(".bulkhead")).to_have_text("This DAG run has released nothing.")


def test_a_service_is_found_by_part_of_its_name(opened: Open) -> None:
    page = opened("/plugin/bulkhead")
    expect(page.get_by_role("row", name=re.compile("digits"))).to_be_visible()
    page.get_by_label("find services").fill("no such")
    expect(page.get_by_text("No service has that in its name.")).to_be_visible()
    page.get_by_label("find services").fill("DIG")
    expect(page.get_by_role("row", name=re.compile("digits"))).to_be_visible()


@pytest.mark.usefixtures("fleet")
def test_the_fleets_page_finds_what_is_sick_among_many(opened: Open) -> None:
    page = opened("/plugin/bulkhead")
    page.get_by_role("link", name="Fleet").click()
    rows = page.get_by_role("table").last.get_by_role("row")
    expect(rows.nth(1)).to_contain_text("the GPU has fallen off the bus")
    expect(rows.nth(1)).to_contain_text("quarantine: ")
    expect(rows.nth(2)).to_contain_text("Rows could not be remapped")
    expect(page.get_by_text("254 of 256")).to_be_visible()
    _picture(page, "control-room-fleet")
    page.get_by_role("button", name="1 unhealthy").click()
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="1 unhealthy").click()
    page.get_by_label("find devices").fill("TRAIN-31")
    expect(rows.filter(has_text="gpu-node-31")).to_have_count(8)
    expect(rows).to_have_count(9)
    page.get_by_role("link", name="nodes", exact=True).click()
    expect(rows.filter(has_text="gpu-node-03")).to_have_count(1)
    page.get_by_role("link", name="quarantines (1)").click()
    expect(rows.nth(1)).to_contain_text("GPU-03-5")


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("path", ["/plugin/bulkhead", FLEET, TASK])
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1600, "light"), (1600, "dark")])
def test_everybody_can_use_it(opened: Open, path: str, width: int, scheme: str) -> None:
    page = opened(path, width=width, scheme=scheme)
    expect(page.locator(".bulkhead").get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".bulkhead").get_by_role("status", name="loading")).to_have_count(0)
    found = Axe().run(page, context={"include": [[".bulkhead"]]})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.bulkhead'))")


def _press(page: Page, button: str, reason: str) -> None:
    """Press a button, give the reason that its dialog asks for, and press again."""
    page.locator(".bulkhead").get_by_role("button", name=button).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name=button)).to_be_disabled()
    dialog.get_by_role("textbox").fill(reason)
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_be_hidden()


@pytest.mark.usefixtures("clients")
def test_a_person_approves_and_rolls_back_by_clicking(opened: Open, kept: Kept) -> None:
    before = kept.control.ledger.services.get("digits").stable_revision
    kept.start("release_asked", "clicked", {})
    kept.task("release_asked", "clicked", "release.deploy", "success")
    page = opened("/dags/release_asked/runs/clicked/tasks/release.deploy/plugin/bulkhead-release")
    expect(page.locator(".bulkhead")).to_contain_text("approving, step 1 of 2")
    _press(page, "Approve", "it answers as it should")
    said = page.get_by_role("region", name="What happened")
    expect(said).to_contain_text("Step 1 of 2 was approved by web: admin: it answers as it should.")
    expect(page.locator(".bulkhead")).to_contain_text(re.compile("^Promoted: revision|Promoted: revision"))
    [rollout] = kept.control.ledger.rollouts.latest("digits", run_owner("release_asked", "clicked"))
    assert kept.control.ledger.services.get("digits").stable_revision == rollout.revision_id

    _press(page, "Roll back", "the numbers look odd to me")
    link = page.get_by_role("status").get_by_role("link")
    returning = link.inner_text()
    link.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(returning)  # the page before says "Promoted" as well
    expect(page.locator(".bulkhead")).to_contain_text(re.compile(r"Promoted: revision"))
    assert kept.control.ledger.services.get("digits").stable_revision == before
    assert kept.control.ledger.rollouts.latest("digits")[0].owner == "web: admin"
    kept.answer("release_asked", "clicked", "release.approve_1", "Approve")  # that Airflow asks as well


def test_a_person_isolates_by_levels_and_ends_it(opened: Open) -> None:
    page = opened(TASK, refused=422)
    page.locator(".bulkhead").get_by_role("button", name="Isolate").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("checkbox", name=re.compile("^traffic"))).to_be_disabled()
    dialog.get_by_text(re.compile("^pod: its pods are kept")).click()
    dialog.get_by_role("textbox").fill('<b>it "leaks"</b>')
    found = Axe().run(page, context={"include": [[".bulkhead-dialog"]]})
    assert found.violations_count == 0, found.generate_report()
    _picture(page, "control-room-isolate")
    dialog.get_by_text(re.compile("^network: nothing reaches")).click()
    dialog.get_by_role("button", name="Isolate").click()
    expect(dialog.get_by_role("alert")).to_contain_text("processes of one machine share its network")
    dialog.get_by_text(re.compile("^network: nothing reaches")).click()
    dialog.get_by_role("button", name="Isolate").click()
    expect(page.get_by_role("region", name="What it is")).to_contain_text('<b>it "leaks"</b> (web: admin')
    _press(page, "End the isolation", "it was the test's")
    expect(page.locator(".bulkhead").get_by_role("button", name="End the isolation")).to_be_hidden()


def test_a_viewer_reads_and_is_refused_whatever_is_sent(opened: Open, kept: Kept) -> None:
    page = opened("/")
    [cookie] = [cookie for cookie in page.context.cookies() if cookie["name"] == "_token"]
    page.context.add_cookies([{**cookie, "value": kept.session_of_a_viewer(cookie["value"])}])  # type: ignore[list-item]
    page.goto(f"{kept.airflow.url}{TASK}")
    asked = "Acting from here asks for the permission to edit DAG digits_release, which eve does not have."
    expect(page.locator(".bulkhead")).to_contain_text(asked)
    expect(page.locator(".bulkhead").get_by_role("button")).to_have_count(0)
    release = page.evaluate("""async () => {
        const run = "dags/digits_release/releases?run_id=bad-release";
        return (await (await fetch(`/bulkhead/api/${run}`)).json()).items[0].id; }""")
    headers = {"Idempotency-Key": "by-hand-of-eve", "Content-Type": "application/json"}
    for action in ("rollback", "isolate", "unisolate"):
        answer = page.request.post(
            f"{kept.airflow.url}/bulkhead/api/releases/{release}/{action}",
            headers=headers,
            data={"reason": "by hand"},
        )
        assert (answer.status, "edit DAG 'digits_release'" in answer.json()["error"]) == (403, True)


def test_a_session_that_has_expired_is_said_and_nothing_is_lost(opened: Open) -> None:
    page = opened(TASK, refused=401)
    page.locator(".bulkhead").get_by_role("button", name="Isolate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("typed before")
    page.context.clear_cookies()
    dialog.get_by_role("button", name="Isolate").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not logged in any more")
    expect(dialog.get_by_role("textbox")).to_have_value("typed before")
