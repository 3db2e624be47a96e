"""The pages in Airflow's web interface, in a real Chromium: what a person on call sees of the demo's releases."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.conftest import Kept

pytestmark = pytest.mark.e2e

CHROMIUM = shutil.which("chromium")
ALONE = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIET = "--disable-component-update --disable-sync"
RUN = "/dags/digits_release/runs/bad-release"
TASK = f"{RUN}/tasks/deploy/plugin/bulkhead-release"
PATIENCE_MS = 240_000.0
"""How long what is waited for may take, on whatever machine."""

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("NOT SEEN IN A BROWSER: chromium is not here")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=f"{ALONE} {QUIET}".split())
        yield launched
        launched.close()


@pytest.fixture
def opened(kept: Kept, browser: Browser) -> Iterator[Open]:
    """Opens a page as somebody who has logged in; at the end no page may have complained."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, *, width: int = 1600, scheme: str = "light") -> Page:
        look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        context = browser.new_context(**look)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(kept.airflow.url)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", kept.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "login" not in url)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{kept.airflow.url}{path}")
        return page

    expect.set_options(timeout=PATIENCE_MS)
    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _picture(page: Page, name: str) -> None:
    """Keep a picture for the docs, where BULKHEAD_PICTURES names a folder."""
    folder = os.environ.get("BULKHEAD_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_bad_release_is_understood_from_its_tasks_tab_alone(opened: Open, scheme: str) -> None:
    page = opened(TASK, scheme=scheme)
    alert = page.locator(".bulkhead").get_by_text(re.compile(r"^Rolled back: revision .* requests failed"))
    expect(alert).to_contain_text("All of the traffic is back on revision")
    expect(alert).to_contain_text("Next: mend the model")
    said = page.get_by_role("region", name="What happened")
    expect(said).to_contain_text(re.compile(r"Step 1 of \d"))
    expect(page.get_by_role("region", name="What can be done now")).to_contain_text("bulkhead isolate digits-")
    expect(page.locator(".bulkhead")).to_contain_text("model_uri")
    _picture(page, f"control-room-release-{scheme}")


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


@pytest.mark.parametrize("path", ["/plugin/bulkhead", TASK])
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1600, "light"), (1600, "dark")])
def test_everybody_can_use_it(opened: Open, path: str, width: int, scheme: str) -> None:
    page = opened(path, width=width, scheme=scheme)
    expect(page.locator(".bulkhead").get_by_role("heading", level=1)).to_be_visible()
    found = Axe().run(page, context={"include": [[".bulkhead"]]})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.bulkhead'))")
