"""The JSON API: a FastAPI application over one ledger, for whoever protects it to mount."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.params import Depends
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel

from bulkhead.errors import BulkheadError, NotFoundError, UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.web import BUNDLE
from bulkhead.web.documents import Page, ReleaseDocument, ReleaseSummary, ServiceDocument, Trouble
from bulkhead.web.reader import LedgerReader
from bulkhead.web.response_cache import ResponseCache

_RETRY_S = 5
_REVALIDATED = {"Cache-Control": "private, no-cache"}
_STATIC = Path(__file__).with_name("static")
_LONGEST_ID = 2**31 - 1

_LONGEST_AIRFLOW_ID = 250

_Before = Annotated[int | None, Query(ge=1, le=_LONGEST_ID, description="only older than the one of this id")]
_Limit = Annotated[int, Query(ge=1, le=200, description="items of a page")]
_TROUBLE: dict[int | str, dict[str, Any]] = {
    404: {"model": Trouble, "description": "there is no such thing"},
    503: {"model": Trouble, "description": "the ledger does not answer"},
}


def create_app(ledger: Callable[[], Ledger], dependencies: Sequence[Depends] = ()) -> FastAPI:
    """Make the application.

    Args:
        ledger: gives the ledger; called for the first request and again where that has failed.
        dependencies: of FastAPI's, of every route: who may read. Without any, everybody may.

    Returns:
        It. Its OpenAPI document is one of its routes, ``openapi.json``, and protected like them.
    """
    app = FastAPI(title="Bulkhead", version="1", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(_routes(ledger, app), dependencies=list(dependencies))

    @app.exception_handler(BulkheadError)
    def trouble(_: Request, error: BulkheadError) -> JSONResponse:
        body = Trouble(error=str(error)).model_dump()
        if isinstance(error, NotFoundError):
            return JSONResponse(body, 404)
        if isinstance(error, UnavailableError):
            return JSONResponse(body, 503, headers={"Retry-After": str(_RETRY_S)})
        return JSONResponse(body, 500)

    return app


def _routes(ledger: Callable[[], Ledger], app: FastAPI) -> APIRouter:
    router, cache = APIRouter(responses=_TROUBLE), ResponseCache()
    opened: list[Ledger] = []
    opening = threading.Lock()

    def reading() -> LedgerReader:
        with opening:
            if not opened:
                opened.append(ledger())
        return LedgerReader(opened[0])

    def answer(request: Request, make: Callable[[LedgerReader], BaseModel]) -> Response:
        body = cache.give(f"{request.url.path}?{request.url.query}", lambda: make(reading()))
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, **_REVALIDATED}
        if tag in [given.strip().removeprefix("W/") for given in request.headers.get("If-None-Match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    @router.get("/services", response_model=Page[ServiceDocument])
    def services(
        request: Request,
        search: Annotated[str, Query(max_length=63, description="part of the name")] = "",
        offset: Annotated[int, Query(ge=0, le=_LONGEST_ID)] = 0,
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
    def release(request: Request, release_id: Annotated[int, PathParameter(ge=1, le=_LONGEST_ID)]) -> Response:
        """One release: its way, its evidence, its events."""
        return answer(request, lambda read: read.release(release_id))

    @router.get(BUNDLE, include_in_schema=False)
    def bundle() -> FileResponse:
        return FileResponse(_STATIC / BUNDLE.removeprefix("/"), media_type="text/javascript", headers=_REVALIDATED)

    @router.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return app.openapi()

    return router
