"""The JSON API: a FastAPI application over one ledger, for whoever protects it to mount."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from bulkhead.commands import Commands
from bulkhead.errors import BulkheadError, ConflictError, InvalidInputError, NotFoundError, UnavailableError
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
from bulkhead.web.reader import LedgerReader
from bulkhead.web.response_cache import ResponseCache

_RETRY_S = 5
_REVALIDATED = {"Cache-Control": "private, no-cache"}
_STATIC = Path(__file__).with_name("static")
_LONGEST_AIRFLOW_ID = 250

_STATUSES = ((NotFoundError, 404), (InvalidInputError, 422), (ConflictError, 409), (UnavailableError, 503))

_Before = Annotated[int | None, Query(ge=1, le=LONGEST_ID, description="only older than the one of this id")]
_Limit = Annotated[int, Query(ge=1, le=200, description="items of a page")]
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
    opened, cache = _Opened(commands), ResponseCache()
    protected: dict[str, Any] = {"dependencies": [Depends(person)], "responses": _TROUBLE}
    app.include_router(_reading(opened, cache, app), **protected)
    app.include_router(action_routes(opened.give, person, cache.clear), **protected)

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


class _Opened:
    """The commands, made for the first request and kept."""

    def __init__(self, make: Callable[[], Commands]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._commands: Commands | None = None

    def give(self) -> Commands:
        with self._lock:
            if self._commands is None:
                try:
                    self._commands = self._make()
                except InvalidInputError as error:  # nothing that was asked is wrong
                    raise BulkheadError(f"Bulkhead's configuration: {error}") from error
            return self._commands


def _reading(opened: _Opened, cache: ResponseCache, app: FastAPI) -> APIRouter:
    router = APIRouter()

    def answer(request: Request, make: Callable[[LedgerReader], BaseModel]) -> Response:
        body = cache.give(f"{request.url.path}?{request.url.query}", lambda: make(LedgerReader(opened.give().ledger)))
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, **_REVALIDATED}
        if tag in [given.strip().removeprefix("W/") for given in request.headers.get("If-None-Match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    @router.get("/services", response_model=Page[ServiceDocument])
    def services(
        request: Request,
        search: Annotated[str, Query(max_length=63, description="part of the name")] = "",
        offset: Annotated[int, Query(ge=0, le=LONGEST_ID)] = 0,
        limit: _Limit = 50,
    ) -> Response:
        """Services; those that want a person first."""
        return answer(request, lambda read: read.services(search, offset, limit))

    @router.get("/services/{name}", response_model=ServiceDocument)
    def service(request: Request, name: Annotated[str, PathParameter(max_length=63)]) -> Response:
        """One service."""
        return answer(request, lambda read: read.service(name))

    @router.get("/releases", response_model=Page[ReleaseSummary])
    def releases(
        request: Request,
        service: Annotated[str | None, Query(max_length=63, description="only of this service")] = None,
        before: _Before = None,
        limit: _Limit = 50,
    ) -> Response:
        """Releases, newest first."""
        return answer(request, lambda read: read.releases(service, None, before, limit))

    @router.get("/dags/{dag_id}/releases", response_model=Page[ReleaseSummary])
    def releases_of_run(
        request: Request,
        dag_id: Annotated[str, PathParameter(max_length=_LONGEST_AIRFLOW_ID)],
        run_id: Annotated[str, Query(max_length=_LONGEST_AIRFLOW_ID, description="of the DAG run that asked for them")],
        before: _Before = None,
        limit: _Limit = 50,
    ) -> Response:
        """Releases that a DAG run has asked for, newest first: none, where it has released nothing."""
        return answer(request, lambda read: read.releases(None, (dag_id, run_id), before, limit))

    @router.get("/releases/{release_id}", response_model=ReleaseDocument)
    def release(request: Request, release_id: ReleaseId) -> Response:
        """One release: its way, its evidence, its events."""
        return answer(request, lambda read: read.release(release_id))

    @router.get("/releases/{release_id}/course", response_model=CourseDocument)
    def course(request: Request, release_id: ReleaseId) -> Response:
        """How one release went: its share of the traffic, what was measured, when something was decided."""
        return answer(request, lambda read: read.course(release_id))

    @router.get(BUNDLE, include_in_schema=False)
    @router.get(STANDALONE, include_in_schema=False)
    def bundle(request: Request) -> FileResponse:
        name = request.url.path.rpartition("/")[2]
        return FileResponse(_STATIC / name, media_type="text/javascript", headers=_REVALIDATED)

    @router.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return app.openapi()

    return router
