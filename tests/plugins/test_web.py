"""The Control Room's places in Airflow's web interface."""

import asyncio
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel

from bulkhead import web as pages
from bulkhead.plugins import web, web_login
from bulkhead.plugins.airflow_plugin import BulkheadPlugin
from tests.bulkhead.web.test_app import BUNDLE


def test_each_page_is_a_component_of_the_bundle() -> None:
    text = BUNDLE.read_text()
    for page in BulkheadPlugin.react_apps:
        assert f"{page['name']}:" in text
        assert page["bundle_url"] == f"bulkhead/api{pages.BUNDLE}"
    places = {page["destination"] for page in BulkheadPlugin.react_apps}
    assert places == {"nav", "task_instance", "dag_run", "dashboard"}
    assert len({page["url_route"] for page in BulkheadPlugin.react_apps}) == len(BulkheadPlugin.react_apps)


def test_the_api_is_made_for_its_first_request_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        made[-1] += 1

    def make() -> Any:
        made.append(0)
        return app

    monkeypatch.setattr(web, "_make", make)
    api = web.ProtectedApi()
    assert made == []
    for _ in range(2):
        asyncio.run(api({}, None, None))  # type: ignore[arg-type]
    assert made == [2]


def test_every_route_of_it_wants_a_login() -> None:
    app: Any = web._make()
    routes = [route for route in app.routes if hasattr(route, "dependant")]
    assert {pages.BUNDLE, "/services", "/openapi.json"} <= {route.path for route in routes}
    for route in routes:
        calls = [inner.call for outer in route.dependant.dependencies for inner in outer.dependencies]
        assert get_user in calls, route.path


@pytest.mark.parametrize(("role", "allowed"), [("viewer", False), ("user", True), ("admin", True)])
def test_who_may_edit_a_dag_is_airflows_to_say(monkeypatch: pytest.MonkeyPatch, role: str, allowed: bool) -> None:
    monkeypatch.setattr(web_login, "get_auth_manager", SimpleAuthManager)
    monkeypatch.setattr(DagModel, "get_team_name", lambda dag_id: None)
    person = web_login.person(SimpleAuthManagerUser(username="ada", role=role))
    assert (person.name, person.may_edit("release"), person.may_edit(None)) == ("ada", allowed, allowed)
