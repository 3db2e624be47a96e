"""What every router does, and the fence that every write to one carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from bulkhead.metrics.counters import Counters


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
        port: TCP port on loopback that gets the copies.
        percent: of the requests.
    """

    port: int
    percent: int


@dataclass(frozen=True)
class Split:
    """A service's traffic.

    Attributes:
        endpoints: TCP port on loopback by revision: every revision that the router knows.
        weights: percent by revision; those named sum to 100, or none is named and the service answers 503.
        pin: requests that go to one revision whatever the weights, or None.
        mirror: where copies of requests go, or None.
    """

    endpoints: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    pin: Pin | None = None
    mirror: Mirror | None = None


class Router(Protocol):
    """Splits one service's traffic."""

    def read(self, service: str) -> tuple[Fence, Split]:
        """What the router was last told, and under which fence.

        Args:
            service: by name.
        """

    def apply(self, service: str, split: Split, fence: Fence) -> None:
        """Make the router split so, and come back only when it does.

        Args:
            service: by name.
            split: endpoints and weights.
            fence: of the writer.

        Raises:
            FencedError: a later fence was written already; nothing was changed.
            UnavailableError: the router has not confirmed; what was asked for is written down and will be
                taken up when it comes back.
        """

    def counters(self, service: str) -> Mapping[str, Counters]:
        """Cumulative numbers by revision.

        Args:
            service: by name.

        Raises:
            UnavailableError: the router does not answer.
        """
