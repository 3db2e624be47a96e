"""A fleet under watch: snapshots in, verdicts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bulkhead.health.assess import assess, assess_nodes, doubt
from bulkhead.health.observation import BY_PLACE, Device, NodeState, Reading, Snapshot, place
from bulkhead.health.peers import slow
from bulkhead.health.policy import Policy
from bulkhead.health.verdict import Assessment, DeviceVerdict
from bulkhead.health.window import EvidenceWindow

_FORGET_S = 30 * 86400.0


class Fleet:
    """What is known of a fleet's devices.

    Args:
        windows: of an earlier watch, by UUID.
        verdicts: of it, by UUID.
    """

    def __init__(
        self,
        policy: Policy,
        windows: Mapping[str, EvidenceWindow] | None = None,
        verdicts: Mapping[str, DeviceVerdict] | None = None,
    ) -> None:
        self.policy = policy
        self.windows: dict[str, EvidenceWindow] = dict(windows or {})
        self.verdicts: dict[str, DeviceVerdict] = dict(verdicts or {})
        self._answered: Mapping[str, float] = {}

    def take(self, snapshots: Iterable[Snapshot], now: float) -> Assessment:
        """Take a look's snapshots in, and judge.

        Args:
            snapshots: of all sources. Where two show one device, the one with more fields counts.
            now: seconds since 1970.

        Returns:
            How the fleet stands.
        """
        looks = list(snapshots)
        shown = _shown(looks)
        told = slow((reading for reading, _ in shown.values()), self.policy.peers)
        for uuid, (reading, source) in shown.items():
            window = self.windows.get(uuid)
            if window is None:
                window = self.windows[uuid] = EvidenceWindow(reading.device)
            window.take(reading, source, self.policy, told.get(uuid, ()))
        self._miss(looks, shown, now)
        self._report(looks)
        return self._judge(looks, now)

    def answer(self, answered: Mapping[str, float]) -> None:
        """Forget the evidence against devices, or against nodes' devices, up to a time.

        Args:
            answered: seconds since 1970, by UUID or node.
        """
        self._answered = answered
        for uuid, window in self.windows.items():
            at = self._answered_at(window.device)
            if at:
                window.answer(at)
                verdict = self.verdicts.get(uuid)
                if verdict is not None and verdict.evidence_at <= at:
                    del self.verdicts[uuid]

    def _answered_at(self, device: Device) -> float:
        return max(self._answered.get(device.uuid, 0.0), self._answered.get(device.node, 0.0))

    def _miss(self, looks: Sequence[Snapshot], shown: Mapping[str, object], now: float) -> None:
        """Note which devices a look should have shown, and forget those that nobody has shown for long."""
        covers = {look.source: look.covers for look in looks if look.failed is None}
        for uuid, window in list(self.windows.items()):
            if uuid in shown or window.latest is None:
                continue
            if window.device.node in covers.get(window.source, ()):
                window.missing += 1
            if now - window.latest.at > _FORGET_S:
                del self.windows[uuid]
                self.verdicts.pop(uuid, None)

    def _report(self, looks: Iterable[Snapshot]) -> None:
        """Take in the Xids of kernel logs and the like."""
        told = [(uuid, event) for look in looks for uuid, events in look.xids.items() for event in events]
        places = {}
        if any(uuid.startswith(BY_PLACE) for uuid, _ in told):
            places = {place(one.device.node, one.device.pci): uuid for uuid, one in self.windows.items()}
        for uuid, event in told:
            known = places.get(uuid, uuid)
            if known not in self.windows:
                node, _, pci = known.removeprefix(BY_PLACE).rpartition("/")
                self.windows[known] = EvidenceWindow(Device(known, node, "", pci))
            # A cluster keeps an event for an hour: one that a repair has answered is read again at each look.
            answered = self._answered_at(self.windows[known].device)
            if not answered or event.at > answered:
                self.windows[known].report(event)

    def _judge(self, looks: Sequence[Snapshot], now: float) -> Assessment:
        before = self.verdicts
        verdicts = {uuid: assess(window, self.policy, now, before.get(uuid)) for uuid, window in self.windows.items()}
        self.verdicts = doubt(verdicts, before, self.policy)
        states: dict[str, NodeState] = {}
        for look in looks:
            for name, state in look.nodes.items():
                known = states.get(name)
                states[name] = state if known is None else known.joined(state)
        return Assessment(
            at=now,
            devices=self.verdicts,
            nodes=assess_nodes(self.verdicts.values(), states, self.policy),
            problems={look.source: dict(look.problems) for look in looks if look.problems},
            failed={look.source: look.failed for look in looks if look.failed is not None},
        )


def _shown(looks: Iterable[Snapshot]) -> dict[str, tuple[Reading, str]]:
    shown: dict[str, tuple[Reading, str]] = {}
    for look in looks:
        for uuid, reading in look.readings.items():
            other = shown.get(uuid)
            if other is None or len(reading.fields) > len(other[0].fields):
                shown[uuid] = (reading, look.source)
    return shown
