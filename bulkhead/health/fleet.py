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
        """Take a poll's snapshots in, and judge.

        Args:
            snapshots: of all sources. Where two show one device, the one with more fields counts.
            now: seconds since 1970.

        Returns:
            How the fleet stands.
        """
        polls = list(snapshots)
        shown = _shown(polls)
        slower = slow((reading for reading, _ in shown.values()), self.policy.peers)
        for uuid, (reading, source) in shown.items():
            window = self.windows.get(uuid)
            if window is None:
                window = self.windows[uuid] = EvidenceWindow(reading.device)
            window.take(reading, source, self.policy, slower.get(uuid, ()))
        self._miss(polls, shown, now)
        self._report(polls)
        return self._judge(polls, now)

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

    def _miss(self, polls: Sequence[Snapshot], shown: Mapping[str, object], now: float) -> None:
        """Note which devices a poll should have shown, and forget those that no source has shown for long."""
        covers = {poll.source: poll.covers for poll in polls if poll.failed is None}
        for uuid, window in list(self.windows.items()):
            if uuid in shown or window.latest is None:
                continue
            if window.device.node in covers.get(window.source, ()):
                window.missing += 1
            if now - window.latest.at > _FORGET_S:
                del self.windows[uuid]
                self.verdicts.pop(uuid, None)

    def _report(self, polls: Iterable[Snapshot]) -> None:
        """Take in the Xids of kernel logs and the like."""
        events_of_xids = [(uuid, event) for poll in polls for uuid, events in poll.xids.items() for event in events]
        places = {}
        if any(uuid.startswith(BY_PLACE) for uuid, _ in events_of_xids):
            places = {place(window.device.node, window.device.pci): uuid for uuid, window in self.windows.items()}
        for uuid, event in events_of_xids:
            full = places.get(uuid, uuid)
            if full not in self.windows:
                node, _, pci = full.removeprefix(BY_PLACE).rpartition("/")
                self.windows[full] = EvidenceWindow(Device(full, node, "", pci))
            # A cluster keeps an event for an hour: one that a repair has answered is read again at each poll.
            answered = self._answered_at(self.windows[full].device)
            if not answered or event.at > answered:
                self.windows[full].report(event)

    def _judge(self, polls: Sequence[Snapshot], now: float) -> Assessment:
        before = self.verdicts
        verdicts = {uuid: assess(window, self.policy, now, before.get(uuid)) for uuid, window in self.windows.items()}
        self.verdicts = doubt(verdicts, before, self.policy)
        states: dict[str, NodeState] = {}
        for poll in polls:
            for name, state in poll.nodes.items():
                state_before = states.get(name)
                states[name] = state if state_before is None else state_before.joined(state)
        return Assessment(
            at=now,
            devices=self.verdicts,
            nodes=assess_nodes(self.verdicts.values(), states, self.policy),
            problems={poll.source: dict(poll.problems) for poll in polls if poll.problems},
            failed={poll.source: poll.failed for poll in polls if poll.failed is not None},
        )


def _shown(polls: Iterable[Snapshot]) -> dict[str, tuple[Reading, str]]:
    shown: dict[str, tuple[Reading, str]] = {}
    for poll in polls:
        for uuid, reading in poll.readings.items():
            other = shown.get(uuid)
            if other is None or len(reading.fields) > len(other[0].fields):
                shown[uuid] = (reading, poll.source)
    return shown
