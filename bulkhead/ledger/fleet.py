"""What a fleet's watch leaves: how devices and nodes stand, for people, and what it remembers, for the next watch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, case, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session, defer

from bulkhead.ledger.tables import Base, FleetDevice, FleetNode
from bulkhead.ledger.transactions import Transactions

Row = TypeVar("Row", FleetDevice, FleetNode)


@dataclass(frozen=True)
class NodeStand:
    """How a node stands.

    Attributes:
        name: of the node.
        product: of its GPUs, or empty.
        pool: node pool that it belongs to, or empty.
        usable: whether new pods can go there: it is seen, and not cordoned.
        cordoned: whether new pods are kept away already.
        health: how it stands.
        reason: code of what decided.
        evidence: in words and numbers.
        action: what is to be done.
        devices: how many it has.
        healthy: how many of those are.
    """

    name: str
    product: str = ""
    pool: str = ""
    usable: bool = True
    cordoned: bool = False
    health: str = "unknown"
    reason: str = ""
    evidence: str = ""
    action: str = ""
    devices: int = 0
    healthy: int = 0


@dataclass(frozen=True)
class DeviceStand:
    """How a device stands.

    Attributes:
        uuid: of the device.
        node: that it is on.
        model: product name, or empty.
        health: how it stands.
        reason: code of what decided.
        evidence: in words and numbers.
        action: what is to be done.
        job: the pod that has it, as ``namespace/name``, or empty.
        since: it stands so.
    """

    uuid: str
    node: str
    model: str
    health: str
    reason: str
    evidence: str
    action: str
    job: str
    since: datetime


@dataclass(frozen=True)
class PageRequest:
    """Part of a list of devices or nodes.

    Attributes:
        search: part of a name, a model, a pod or the evidence, in whatever case; empty for every one.
        health: only what stands so; None for however it stands.
        gravest_first: values of ``health`` in the order in which they are listed.
        offset: how many to leave out.
        limit: at most so many.
    """

    gravest_first: Sequence[str]
    search: str = ""
    health: str | None = None
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True)
class FleetCount:
    """How many devices of a model, or nodes with it, stand how."""

    model: str
    health: str
    count: int


class FleetRecords(Transactions):
    """What watches have left in one ledger."""

    def remember(
        self,
        nodes: Mapping[str, Mapping[str, Any]],
        stands: Iterable[NodeStand] = (),
        devices: Iterable[DeviceStand] = (),
    ) -> None:
        """Keep what a watch knows of a fleet. Devices of these nodes that it does not name any more are forgotten.

        Args:
            nodes: what is known of each node's devices, as JSON, for the next watch.
            stands: how nodes stand, as far as that is known.
            devices: how devices stand.
        """
        now = self._clock()
        placed = {stand.name: asdict(stand) for stand in stands}
        memory = [{"name": name, "at": now, "data": data} for name, data in nodes.items() if name not in placed]
        rows = [{**stand, "at": now, "data": nodes.get(name, {})} for name, stand in placed.items()]
        with self._writing() as session:
            _upsert(session, FleetNode, memory)
            _upsert(session, FleetNode, rows)
            _upsert(session, FleetDevice, [{**asdict(device), "at": now} for device in devices])
            here = FleetDevice.node.in_([*nodes, *placed])
            session.execute(delete(FleetDevice).where(here, FleetDevice.at < now))

    def remembered(
        self, nodes: Collection[str] | None = None, since: datetime | None = None
    ) -> dict[str, dict[str, Any]]:
        """What ``remember`` kept for the next watch, by node.

        Args:
            nodes: of these alone; of all by default.
            since: only what was kept after this.
        """
        query = select(FleetNode.name, FleetNode.data)
        if nodes is not None:
            query = query.where(FleetNode.name.in_(nodes))
        if since is not None:
            query = query.where(FleetNode.at >= since)
        with self._reading() as session:
            return dict(session.execute(query).tuples().all())

    def nodes_since(self, since: datetime) -> Sequence[FleetNode]:
        """The nodes that a watch has kept after a time."""
        with self._reading() as session:
            return session.scalars(select(FleetNode).where(FleetNode.at >= since)).all()

    def looked_at(self) -> datetime | None:
        """When a watch has left something last; None where none ever has."""
        with self._reading() as session:
            return session.scalar(select(func.max(FleetNode.at)))

    def device_counts(self) -> Sequence[FleetCount]:
        """How many devices stand how, by model."""
        return self._counts(FleetDevice.model, FleetDevice.health)

    def node_counts(self) -> Sequence[FleetCount]:
        """How many nodes stand how, by the product of their devices."""
        return self._counts(FleetNode.product, FleetNode.health)

    def devices(self, page: PageRequest) -> tuple[Sequence[FleetDevice], int]:
        """Part of the devices, the gravest first, then by node.

        Returns:
            They, and how many there are in all pages.
        """
        columns = (FleetDevice.node, FleetDevice.uuid, FleetDevice.model, FleetDevice.job, FleetDevice.evidence)
        return self._page(select(FleetDevice), FleetDevice.health, columns, page)

    def nodes(self, page: PageRequest) -> tuple[Sequence[FleetNode], int]:
        """Part of the nodes, the gravest first, without what is remembered of their devices.

        Returns:
            They, and how many there are in all pages.
        """
        columns = (FleetNode.name, FleetNode.pool, FleetNode.product, FleetNode.evidence)
        return self._page(select(FleetNode).options(defer(FleetNode.data)), FleetNode.health, columns, page)

    def health_of(self, names: Collection[str]) -> dict[str, str]:
        """How some devices and nodes stand.

        Args:
            names: UUIDs, and names of nodes.

        Returns:
            By name; of those that are known.
        """
        devices = select(FleetDevice.uuid, FleetDevice.health).where(FleetDevice.uuid.in_(names))
        nodes = select(FleetNode.name, FleetNode.health).where(FleetNode.name.in_(names))
        with self._reading() as session:
            return dict(session.execute(devices.union_all(nodes)).tuples().all())

    def _counts(self, model: InstrumentedAttribute[str], health: InstrumentedAttribute[str]) -> Sequence[FleetCount]:
        query = select(model, health, func.count()).group_by(model, health).order_by(model)
        with self._reading() as session:
            return [FleetCount(*row) for row in session.execute(query)]

    def _page(
        self,
        query: Select[Row],
        health: InstrumentedAttribute[str],
        columns: Sequence[InstrumentedAttribute[str]],
        page: PageRequest,
    ) -> tuple[Sequence[Row], int]:
        chosen: list[ColumnElement[bool]] = [] if page.health is None else [health == page.health]
        if page.search:
            chosen.append(or_(*(column.icontains(page.search, autoescape=True) for column in columns)))
        places = {value: index for index, value in enumerate(page.gravest_first)}
        query = query.where(*chosen).order_by(case(places, value=health, else_=len(places)), *columns[:2])
        with self._reading() as session:
            counted = select(func.count()).where(*chosen)
            rows = session.scalars(query.offset(page.offset).limit(page.limit)).all()
            return rows, session.scalar(counted.select_from(health.class_)) or 0


def _upsert(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; of those that are there, set what is given. Each row gives the same columns."""
    if not rows:
        return
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    keys = [column.name for column in table.__table__.primary_key]
    given = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=given), rows)
