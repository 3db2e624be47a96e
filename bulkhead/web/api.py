"""The JSON API: a FastAPI application over one ledger, for whoever protects it to mount."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from bulkhead.commands import Commands
from bulkhead.errors import BulkheadError, ConflictError, InvalidInputError, NotFoundError, UnavailableError
from bulkhead.ledger.changes import EVENTS, FLEET, events_of, measurements_of
from bulkhead.text import bounded
from bulkhead.web import BUNDLE, STANDALONE
from bulkhead.web.action_routes import ReleaseId, action_routes
from bulkhead.web.actions import Person
from bulkhead.web.documents import (
    LONGEST_ID,
    CourseDocument,
    Page,
    ReleaseDocument,
    ReleaseSummary,
    ServiceDocument,
    Trouble,
)
from bulkhead.web.fleet_routes import fleet_routes
from bulkhead.web.parameters import Limit, Offset
from bulkhead.web.reader import reader
from bulkhead.web.responses import REVALIDATED, Opened, Responses

_RETRY_S = 5
_STATIC = Path(__file__).with_name("static")
_LONGEST_AIRFLOW_ID = 250

_STATUSES = ((NotFoundError, 404), (InvalidInputError, 422), (ConflictError, 409), (UnavailableError, 503))

_Before = Annotated[int | None, Query(ge=1, le=LONGEST_ID, description="only older than the one of this id")]
_TROUBLE: dict[int | str, dict[str, Any]] = {
    404: {"model": Trouble, "description": "there is no such thing"},
    422: {"model": Trouble, "description": "what was asked does not fit"},
    503: {"model": Trouble, "description": "the ledger does not answer"},
}


def create_app(commands: Callable[[], Commands], person: Callable[..., Person]) -> FastAPI:
    """Make the application.

    Args:
        commands: gives those of the control plane, and with them its ledger; called for the first request, and again
            where that has failed.
        person: a dependency of FastAPI's, of every route: gives who asks, or refuses who may not even read.

    Returns:
        It. Its OpenAPI document is one of its routes, ``openapi.json``, and protected like them.
    """
    app = FastAPI(title="Bulkhead", version="1", openapi_url=None, docs_url=None, redoc_url=None)
    opened = Opened(commands)
    responses = Responses(opened)
    protected: dict[str, Any] = {"dependencies": [Depends(person)], "responses": _TROUBLE}
    app.include_router(_release_routes(responses), **protected)
    app.include_router(fleet_routes(responses), **protected)
    app.include_router(_file_routes(app), **protected)
    app.include_router(action_routes(opened.give, person, responses.forget), **protected)

    @app.exception_handler(BulkheadError)
    def trouble(_: Request, error: BulkheadError) -> JSONResponse:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        headers = {"Retry-After": str(_RETRY_S)} if isinstance(error, UnavailableError) else None
        return JSONResponse(Trouble(error=str(error)).model_dump(), status, headers)

    @app.exception_handler(HTTPException)
    def refusal(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(Trouble(error=str(error.detail)).model_dump(), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse(Trouble(error=bounded(f"{where}: {first['msg']}")).model_dump(), 422)

    return app


def _release_routes(responses: Responses) -> APIRouter:
    router = APIRouter()

    @router.get("/services", response_model=Page[ServiceDocument])
    def services(
        request: Request,
        search: Annotated[str, Query(max_length=63, description="part of the name")] = "",
        offset: Offset = 0,
        limit: Limit = 50,
    ) -> Response:
        """Services; those that want a person first."""
        return responses.give(
            request, lambda control: reader(control).services(search, offset, limit), lambda _: (EVENTS, FLEET)
        )

    @router.get("/services/{name}", response_model=ServiceDocument)
    def service(request: Request, name: Annotated[str, PathParameter(max_length=63)]) -> Response:
        """One service."""
        return responses.give(
            request, lambda control: reader(control).service(name), lambda given: (events_of(given.name), FLEET)
        )

    @router.get("/releases", response_model=Page[ReleaseSummary])
    def releases(
        request: Request,
        service: Annotated[str | None, Query(max_length=63, description="only of this service")] = None,
        before: _Before = None,
        limit: Limit = 50,
    ) -> Response:
        """Releases, newest first."""
        return responses.give(
            request,
            lambda control: reader(control).releases(service, None, before, limit),
            lambda _: (EVENTS if service is None else events_of(service),),
        )

    @router.get("/dags/{dag_id}/releases", response_model=Page[ReleaseSummary])
    def releases_of_run(
        request: Request,
        dag_id: Annotated[str, PathParameter(max_length=_LONGEST_AIRFLOW_ID)],
        run_id: Annotated[str, Query(max_length=_LONGEST_AIRFLOW_ID, description="of the DAG run that asked for them")],
        before: _Before = None,
        limit: Limit = 50,
    ) -> Response:
        """Releases that a DAG run has asked for, newest first: none, where it has released nothing."""
        run = (dag_id, run_id)
        return responses.give(
            request, lambda control: reader(control).releases(None, run, before, limit), lambda _: (EVENTS,)
        )

    @router.get("/releases/{release_id}", response_model=ReleaseDocument)
    def release(request: Request, release_id: ReleaseId) -> Response:
        """One release: its way, its evidence, its events."""
        return responses.give(
            request, lambda control: reader(control).release(release_id), lambda given: (events_of(given.service),)
        )

    @router.get("/releases/{release_id}/course", response_model=CourseDocument)
    def course(request: Request, release_id: ReleaseId) -> Response:
        """How one release went: its share of the traffic, what was measured, when something was decided."""
        return responses.give(
            request,
            lambda control: reader(control).course(release_id),
            lambda given: (events_of(given.service), measurements_of(release_id)),
        )

    return router


def _file_routes(app: FastAPI) -> APIRouter:
    router = APIRouter()

    @router.get(BUNDLE, include_in_schema=False)
    @router.get(STANDALONE, include_in_schema=False)
    def bundle(request: Request) -> FileResponse:
        name = request.url.path.rpartition("/")[2]
        return FileResponse(_STATIC / name, media_type="text/javascript", headers=REVALIDATED)

    @router.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return app.openapi()

    return router
