"""Slow against its peers: devices of one model under like load should run alike.

The robust z-score is (x - median) / (1.4826 MAD). Sources: Iglewicz and Hoaglin, "How to Detect and Handle Outliers"
(1993); the constant makes the MAD of a normal distribution its standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from bulkhead.health.conditions import Condition
from bulkhead.health.observation import Field, Reading
from bulkhead.health.policy import Peers

COMPARED = (Field.SM_CLOCK, Field.MEMORY_CLOCK)
"""What tells of speed under load. The lower of two outliers decides."""

_NORMAL = 1.4826
_LEAST_SPREAD = 0.002
"""Of the median: devices that are all but equal would make an outlier of any."""


def slow(readings: Iterable[Reading], policy: Peers) -> dict[str, list[Condition]]:
    """Devices that are slow against their peers now.

    Args:
        readings: of one poll at a fleet.

    Returns:
        Conditions by UUID, of those that are loaded and slow.
    """
    groups: dict[tuple[str, Field], dict[str, float]] = {}
    for reading in readings:
        fields = reading.fields
        if fields.get(Field.UTILISATION, 0.0) < policy.utilisation or not reading.device.model:
            continue
        for field in COMPARED:
            value = fields.get(field)
            if value is not None:
                groups.setdefault((reading.device.model, field), {})[reading.device.uuid] = value
    conditions_of: dict[str, list[Condition]] = {}
    for group in groups.values():
        for uuid, slower in _outliers(group, policy).items():
            conditions_of[uuid] = max(conditions_of.get(uuid, []), slower, key=len)
    return conditions_of


def _outliers(group: Mapping[str, float], policy: Peers) -> dict[str, list[Condition]]:
    if len(group) < policy.least:
        return {}
    middle = median(group.values())
    spread = _NORMAL * median(abs(value - middle) for value in group.values())
    limit = middle - policy.z * max(spread, _LEAST_SPREAD * middle)
    suspect, unhealthy = (min(limit, middle * (1 - drop)) for drop in (policy.suspect_drop, policy.unhealthy_drop))
    outliers = {}
    for uuid, value in group.items():
        if value < suspect:
            outliers[uuid] = [Condition.SLOW] if value >= unhealthy else [Condition.SLOW, Condition.VERY_SLOW]
    return outliers
