"""A device's window, as the tests of the rules fill it."""

from collections.abc import Mapping

from bulkhead.health.observation import Device, Field, Reading
from bulkhead.health.policy import Policy
from bulkhead.health.rules import findings
from bulkhead.health.verdict import DeviceFinding
from bulkhead.health.window import EvidenceWindow

NOW = 10_000_000.0
DEVICE = Device("GPU-1", "node-a")
POLICY = Policy()
WELL: Mapping[Field, float] = {
    Field.TEMPERATURE: 50,
    Field.LAST_XID: 0,
    Field.ECC_UNCORRECTED: 0,
    Field.ROW_REMAP_FAILURE: 0,
    Field.THROTTLE_REASONS: 0,
}


def window_of(at: float = NOW, fields: Mapping[Field, float] = WELL, **more: object) -> EvidenceWindow:
    """What one source tells of the device at a time, and whatever else the window holds."""
    return EvidenceWindow(DEVICE, Reading(DEVICE, at, dict(fields)), "dcgm", **more)  # type: ignore[arg-type]


def found(window: EvidenceWindow, policy: Policy = POLICY) -> list[DeviceFinding]:
    """What the rules find in a window, now."""
    return list(findings(window, policy, NOW))
