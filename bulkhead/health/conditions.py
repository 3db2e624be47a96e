"""What may be so of a device for a while: each tells by two readings whether it is so now."""

from __future__ import annotations

import enum

from bulkhead.health.observation import Field, Reading
from bulkhead.health.policy import Policy

HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x8, 0x20, 0x40, 0x80
"""Bits of NVML's clock event reasons. A software power cap (0x4) is how a loaded GPU normally runs."""


class Condition(enum.StrEnum):
    """What may be so for a while."""

    HOT = "hot"
    THROTTLED = "throttled"
    BRAKED = "braked"
    NARROW = "narrow"
    HUNG = "hung"
    FROZEN = "frozen"
    SLOW = "slow"
    """Against its peers: told by ``peers``, not by a device's own readings."""

    VERY_SLOW = "very-slow"


def conditions(now: Reading, before: Reading | None, policy: Policy) -> list[Condition]:
    """What is so of a device, by its own readings.

    Args:
        before: the one before it, or None.
    """
    fields, present = now.fields, []
    heat = policy.heat
    if fields.get(Field.TEMPERATURE, 0) >= heat.hot_c or fields.get(Field.MEMORY_TEMPERATURE, 0) >= heat.memory_hot_c:
        present.append(Condition.HOT)
    reasons = int(fields.get(Field.THROTTLE_REASONS, 0))
    if reasons & POWER_BRAKE:
        present.append(Condition.BRAKED)
    # A slowdown by the hardware is heat, unless the brake says that it is power.
    if reasons & (SW_THERMAL | HW_THERMAL) or (reasons & HW_SLOWDOWN and not reasons & POWER_BRAKE):
        present.append(Condition.THROTTLED)
    if 0 < fields.get(Field.PCIE_WIDTH, 0) < fields.get(Field.PCIE_WIDTH_MAX, 0):
        present.append(Condition.NARROW)
    if fields.get(Field.UTILISATION, 0) >= policy.hang.utilisation and _still(now, policy):
        present.append(Condition.HUNG)
    if before is not None and _frozen(now, before):
        present.append(Condition.FROZEN)
    return present


def _still(now: Reading, policy: Policy) -> bool:
    """Whether a busy device does no work that can be seen; False where nothing tells."""
    fields, limit = now.fields, policy.hang.active_ratio
    if Field.SM_ACTIVE in fields or Field.DRAM_ACTIVE in fields:
        # A kernel that spins keeps an SM or two; work moves memory.
        return fields.get(Field.DRAM_ACTIVE, 0) <= limit and fields.get(Field.TENSOR_ACTIVE, 0) <= limit
    return fields.get(Field.COPY_UTILISATION, 100) <= 100 * limit


def _frozen(now: Reading, before: Reading) -> bool:
    """Whether numbers stand still that cannot: energy while power is drawn, or else everything."""
    power, energy = now.fields.get(Field.POWER), now.fields.get(Field.ENERGY)
    if power is None or now.at <= before.at:
        return False
    if energy is not None and power > 0:
        return energy == before.fields.get(Field.ENERGY)
    return now.fields == before.fields
