"""Fuzzes what strangers write to a fleet's watch, guided by coverage (atheris, which is not among the dependencies).

    .venv/bin/pip install atheris
    .venv/bin/python -m tests.programs.fuzz_fleet -max_total_time=300 -max_len=4096

Each input is two scrapes and two pieces of a kernel log. No crash is allowed, and a first poll without a kernel's Xid
may call a device unhealthy only by what the device itself states (a row that could not be remapped).
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["bulkhead.health"]):
    from bulkhead.health.exposition import Blocks
    from bulkhead.health.fleet import Fleet
    from bulkhead.health.kernel_log import xids
    from bulkhead.health.observation import Snapshot, place
    from bulkhead.health.policy import Policy
    from bulkhead.health.sources.dcgm import read, series
    from bulkhead.health.verdict import Health, Reason

POLICY = Policy()


def one(data: bytes) -> None:
    """Play one input.

    Args:
        data: of the fuzzer.
    """
    text = data.decode(errors="replace")
    half = len(text) // 2
    fleet, blocks = Fleet(POLICY), Blocks(series)
    for at, part in ((0.0, text[:half]), (15.0, text[half:])):
        poll = Snapshot("dcgm", at)
        read(part, poll, blocks)
        poll.covers = poll.shown_nodes
        for pci, event in xids(part.splitlines(), at, 0.0):
            poll.xids.setdefault(place("n", pci), []).append(event)
        found = fleet.take([poll], at)
        if at == 0.0 and not poll.xids:
            unhealthy = [verdict for verdict in found.devices.values() if verdict.health is Health.UNHEALTHY]
            assert all(verdict.reason is Reason.ROW_REMAP for verdict in unhealthy), unhealthy


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
