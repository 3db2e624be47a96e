"""The JSON API's routes about nodes and devices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from bulkhead.commands import Commands
from bulkhead.health.verdict import Health
from bulkhead.ledger.changes import Part
from bulkhead.web.documents import Page
from bulkhead.web.fleet_documents import DeviceDocument, FleetDocument, NodeDocument, QuarantineDocument
from bulkhead.web.fleet_reader import FleetReader
from bulkhead.web.parameters import Limit, Offset, Search
from bulkhead.web.responses import Responses

_PARTS = Part.FLEET | Part.EVENTS

_Stands = Annotated[Health | None, Query(description="only what stands so")]


def fleet_routes(responses: Responses) -> APIRouter:
    """Make them.

    Args:
        responses: to those who ask; made here.

    Returns:
        The routes.
    """
    router = APIRouter()

    @router.get("/fleet", response_model=FleetDocument)
    def fleet(request: Request) -> Response:
        """How nodes and devices stand in all, and what waits for a person."""
        return responses.give(request, _PARTS, lambda control: _reader(control).fleet())

    @router.get("/fleet/devices", response_model=Page[DeviceDocument])
    def devices(
        request: Request, search: Search = "", health: _Stands = None, offset: Offset = 0, limit: Limit = 50
    ) -> Response:
        """Devices, the gravest first."""
        return responses.give(request, _PARTS, lambda control: _reader(control).devices(search, health, offset, limit))

    @router.get("/fleet/nodes", response_model=Page[NodeDocument])
    def nodes(
        request: Request, search: Search = "", health: _Stands = None, offset: Offset = 0, limit: Limit = 50
    ) -> Response:
        """Nodes, the gravest first."""
        return responses.give(request, _PARTS, lambda control: _reader(control).nodes(search, health, offset, limit))

    @router.get("/fleet/quarantines", response_model=Page[QuarantineDocument])
    def quarantines(request: Request, search: Search = "", offset: Offset = 0, limit: Limit = 50) -> Response:
        """Quarantines that have not ended, what waits for a person first."""
        return responses.give(request, _PARTS, lambda control: _reader(control).quarantines(search, offset, limit))

    return router


def _reader(control: Commands) -> FleetReader:
    return FleetReader(control.ledger, control.settings.fleet)
