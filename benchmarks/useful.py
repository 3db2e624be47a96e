"""Which of the time that a training is paid for is of use: that of its steps, each counted once."""

from __future__ import annotations

from bulkhead.gpu_tasks.heartbeat import Beat


class Useful:
    """Time in steps, seen from outside by the signs of a rank. Of a step that is done again, the last time counts.

    It is measured in the run itself, so that goodput, this over the paid time, is the same on a machine that is slower
    for a while: both are longer then.
    """

    def __init__(self) -> None:
        self._took: dict[int, float] = {}
        self._at: tuple[Beat, float] | None = None

    @property
    def seconds(self) -> float:
        """Of all steps that were done, each once."""
        return sum(self._took.values())

    def poll(self, now: float, beat: Beat | None) -> None:
        """Take note of a rank's last sign.

        Args:
            now: of any clock that only goes forward, in seconds.
            beat: of the rank; None where there is none.
        """
        before = self._at
        if before is not None and beat is not None and before[0].pid == beat.pid:
            last, since = before
            if beat.step == last.step and beat.phase != "end":
                return
            # Whoever is through with all says so at step 0; who looks seldom sees several steps at once.
            done = range(last.step, max(last.step + 1, beat.step))
            self._took |= {step: (now - since) / len(done) for step in done}
        self._at = (beat, now) if beat is not None and beat.step > 0 else None
