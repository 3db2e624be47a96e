"""The demo's clients as a program, for a pod: ``python -m bulkhead.demo.clients URL RATE``.

It prints an object a line, the fields of ``traffic.Answer`` with the number of the request, until SIGTERM; then it
waits for the answers that are still out, and prints ``{"sent": REQUESTS}``.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from dataclasses import asdict

from bulkhead.demo.traffic import DemoTraffic

_EVERY_S = 0.2


def main(url: str, rate: float) -> None:
    """Ask until SIGTERM.

    Args:
        url: of the model endpoint.
        rate: requests a second.
    """
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    traffic, printed = DemoTraffic(url, rate), 0
    traffic.start()
    while not over.wait(_EVERY_S):
        traffic.check()
        printed = _print(traffic, printed)
    traffic.stop()
    print(json.dumps({"sent": _print(traffic, printed)}), flush=True)


def _print(traffic: DemoTraffic, printed: int) -> int:
    answers = traffic.answers[printed:]
    for number, answer in enumerate(answers, printed):
        print(json.dumps({"number": number, **asdict(answer)}))
    sys.stdout.flush()
    return printed + len(answers)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
