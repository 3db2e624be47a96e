"""What every router does, and the fence that every write to one carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Fence(NamedTuple):
    """Orders all writes to a service's traffic; compares as a tuple.

    Attributes:
        generation: of the service; grows with every rollout and every rollback.
        sequence: of the rollout; grows with every transition.
    """

    generation: int
    sequence: int


@dataclass(frozen=True)
class Split:
    """A service's traffic.

    Attributes:
        endpoints: TCP port on loopback by revision: every revision that the router knows.
        weights: percent by revision; those named sum to 100, or none is named and the service answers 503.
    """

    endpoints: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Counters:
    """Cumulative numbers of one revision since its router started.

    Attributes:
        requests: answered, timed out or reset.
        failures: of those, without a 2xx answer.
        slow: cumulative histogram: number of requests that took at most so many milliseconds, by bound.
        active: in flight now.
    """

    requests: int = 0
    failures: int = 0
    slow: Mapping[float, int] = field(default_factory=dict)
    active: int = 0


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
