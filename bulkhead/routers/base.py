"""What every router does, and the fence that every write to one carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

from bulkhead.errors import InvalidInputError

FOREIGN = "rules of others"
"""Who has the traffic where a router's object in the cluster has what was not written here."""


class Fence(NamedTuple):
    """Orders all writes to a service's traffic; compares as a tuple.

    Attributes:
        generation: of the service; grows with every rollout and every rollback.
        sequence: of the rollout; grows with every transition.
    """

    generation: int
    sequence: int


@dataclass(frozen=True)
class Pin:
    """Requests that go to one revision whatever the weights.

    Attributes:
        revision: that gets them.
        headers: values by name; a request that carries all of them is meant.
    """

    revision: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Mirror:
    """Requests of which a copy goes elsewhere; its answer reaches no client.

    Attributes:
        revision: the candidate that they are for; the copies go to the comparer of its answers.
        port: TCP port of that one.
        percent: of the requests.
    """

    revision: str
    port: int
    percent: int


@dataclass(frozen=True)
class Split:
    """A service's traffic.

    Attributes:
        endpoints: TCP port by revision: every revision that the router knows. On this machine it is a port of
            loopback, in a cluster one of the revision's Service.
        weights: percent by revision; those named sum to 100, or none is named and the service answers 503.
        pin: requests that go to one revision whatever the weights, or None.
        mirror: where copies of requests go, or None.
    """

    endpoints: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    pin: Pin | None = None
    mirror: Mirror | None = None

    def check(self) -> None:
        """Refuse what is no split.

        Raises:
            InvalidInputError: the weights do not sum to 100, or name a revision without an endpoint.
        """
        weights = dict(self.weights)
        if weights and sum(weights.values()) != 100:
            raise InvalidInputError("router.weights", weights, "give percentages that sum to 100")
        if min(weights.values(), default=0) < 0:
            raise InvalidInputError("router.weights", weights, "give percentages of at least 0")
        if self.mirror is not None and not 0 < self.mirror.percent <= 100:
            raise InvalidInputError("router.mirror", self.mirror.percent, "give a percentage above 0")
        named = {*weights, *([self.pin.revision] if self.pin else [])}
        unknown = sorted(named - set(self.endpoints))
        if unknown:
            raise InvalidInputError(
                "router.weights", unknown, f"name revisions with an endpoint: {sorted(self.endpoints)}"
            )

    def routes_as(self, other: Split) -> bool:
        """Whether requests go the same ways, whatever other revisions are known."""
        return self._ways() == other._ways()

    def _ways(self) -> object:
        return {name: weight for name, weight in self.weights.items() if weight}, self.pin, self.mirror

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "weights": dict(self.weights),
            "endpoints": dict(self.endpoints),
            "pin": {"revision": self.pin.revision, "headers": dict(self.pin.headers)} if self.pin else {},
            "mirror": asdict(self.mirror) if self.mirror else {},
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Split:
        """Read back what ``document`` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is something else.
        """
        pin, mirror = data.get("pin"), data.get("mirror")
        headers = {str(name): str(value) for name, value in pin["headers"].items()} if pin else {}
        return cls(
            {str(name): int(port) for name, port in data["endpoints"].items()},
            {str(name): int(weight) for name, weight in data["weights"].items()},
            Pin(str(pin["revision"]), headers) if pin else None,
            Mirror(str(mirror["revision"]), int(mirror["port"]), int(mirror["percent"])) if mirror else None,
        )

    def __str__(self) -> str:
        """For people."""
        parts = [f"{weight} % to {name}" for name, weight in self.weights.items() if weight] or ["no revision serves"]
        if self.pin is not None:
            parts.append(f"{dict(self.pin.headers)} to {self.pin.revision}")
        if self.mirror is not None:
            parts.append(f"{self.mirror.percent} % mirrored for {self.mirror.revision}")
        return ", ".join(parts)


class Router(Protocol):
    """Splits one service's traffic."""

    def read(self, service: str) -> tuple[Fence, Split]:
        """What the router was last told, and under which fence."""

    def apply(self, service: str, split: Split, fence: Fence) -> None:
        """Make the router split so, and come back only when it does.

        Raises:
            FencedError: a later fence was written already; nothing was changed.
            UnavailableError: the router has not confirmed; what was asked for is written down and will be
                taken up when it comes back.
        """

    def editor(self, service: str) -> str:
        """Who may have changed a service's split beside this project, for people."""
