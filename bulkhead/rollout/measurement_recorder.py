"""Keeping what is measured of a release: often at the beginning of a step, ever more seldom as it goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.ledger.measurements import Measurements
from bulkhead.rollout.context import RolloutContext

log = logging.getLogger(__name__)

_SHORTEST_S = 2.0
_OF_THE_WINDOW = 1 / 40
"""Between two measurements: with 2 s at first, a step of an hour has about 230 of them, one of a week 400."""


@dataclass(frozen=True)
class _Latest:
    """A rollout's latest measurement. Attributes: window (when it began), at."""

    window: str
    at: datetime


class MeasurementRecorder:
    """Records measurements of rollouts.

    Args:
        measurements: of the ledger.
    """

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        self._latest: dict[int, _Latest] = {}

    def record(self, context: RolloutContext, numbers: Mapping[str, Any]) -> None:
        """Record a judgement's numbers, where that is due. A picture is worth no verdict: one that cannot be kept is
        left out.

        Args:
            context: of the rollout, in a step's window.
            numbers: see ``bulkhead.rollout.analysis.judge``.
        """
        rollout, now = context.rollout, context.clock()
        assert rollout.window is not None
        window, latest = str(rollout.window["at"]), self._latest.get(rollout.id)
        between = timedelta(seconds=max(_SHORTEST_S, numbers["window_s"] * _OF_THE_WINDOW))
        if latest is not None and latest.window == window and abs(now - latest.at) < between:
            return
        self._latest[rollout.id] = _Latest(window, now)
        try:
            if latest is None:
                self._measurements.drop_old(rollout.service)
            self._measurements.append(rollout, numbers)
        except BulkheadError as error:
            log.warning("rollout %s: a measurement of it was not kept: %s", rollout.id, error)

    def forget_all_but(self, rollout_ids: set[int]) -> None:
        """Drop what is remembered of rollouts that have ended."""
        self._latest = {rollout: latest for rollout, latest in self._latest.items() if rollout in rollout_ids}
