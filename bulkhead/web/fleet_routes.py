"""The JSON API's routes about nodes and devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from bulkhead.commands import Commands
from bulkhead.health.verdict import Health
from bulkhead.ledger.changes import EVENTS, FLEET
from bulkhead.web.documents import Page
from bulkhead.web.fleet_documents import DeviceDocument, FleetDocument, NodeDocument, QuarantineDocument
from bulkhead.web.fleet_reader import FleetReader
from bulkhead.web.parameters import Limit, Offset, Search
from bulkhead.web.responses import Responses

_TOPICS = (FLEET, EVENTS)

_Stands = Annotated[Health | None, Query(description="only what stands so")]


def fleet_routes(responses: Responses) -> APIRouter:
    """Make them.

    Args:
        responses: to those who ask; made here.

    Returns:
        The routes.
    """
    router = APIRouter()

    def give(request: Request, make: Callable[[Commands], BaseModel]) -> Response:
        return responses.give(request, make, lambda _: _TOPICS)

    @router.get("/fleet", response_model=FleetDocument)
    def fleet(request: Request) -> Response:
        """How nodes and devices stand in all, and what waits for a person."""
        return give(request, lambda control: _reader(control).fleet())

    @router.get("/fleet/devices", response_model=Page[DeviceDocument])
    def devices(
        request: Request, search: Search = "", health: _Stands = None, offset: Offset = 0, limit: Limit = 50
    ) -> Response:
        """Devices, the gravest first."""
        return give(request, lambda control: _reader(control).devices(search, health, offset, limit))

    @router.get("/fleet/nodes", response_model=Page[NodeDocument])
    def nodes(
        request: Request, search: Search = "", health: _Stands = None, offset: Offset = 0, limit: Limit = 50
    ) -> Response:
        """Nodes, the gravest first."""
        return give(request, lambda control: _reader(control).nodes(search, health, offset, limit))

    @router.get("/fleet/quarantines", response_model=Page[QuarantineDocument])
    def quarantines(request: Request, search: Search = "", offset: Offset = 0, limit: Limit = 50) -> Response:
        """Quarantines that have not ended, what waits for a person first."""
        return give(request, lambda control: _reader(control).quarantines(search, offset, limit))

    return router


def _reader(control: Commands) -> FleetReader:
    return FleetReader(control.ledger, control.settings.fleet)
