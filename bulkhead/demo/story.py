"""The demo's story: a service in use, a good release, a bad one, and one that hangs. And what must hold.

It is the same on this machine (``laptop``) and in a cluster (``cluster.story``).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rich.markup import escape

from bulkhead.control import Control
from bulkhead.demo.airflow_client import AirflowClient
from bulkhead.demo.progress import Progress
from bulkhead.demo.summary import Release
from bulkhead.demo.traffic import Answer, Clients
from bulkhead.errors import UnavailableError
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.identity import run_owner
from bulkhead.registries.mlflow import MlflowRegistry
from bulkhead.settings import Settings

SERVICE = "digits"
"""The service that the demo releases to."""

DAG_ID = "digits_release"
MODEL = "digits"
"""The registered model."""

_NEVER = 10**9
_MIN_ACCURACY = 0.97
_TOLD = (Phase.ANALYSING, Phase.UNALIASING, Phase.PROMOTED, Phase.ROLLED_BACK)


class Stack(Protocol):
    """What the demo has started, wherever that is.

    Attributes:
        folder: for what is left to look at.
        settings: by which this process reaches it.
        control: made of these.
        airflow: its API.
    """

    folder: Path
    settings: Settings
    control: Control
    airflow: AirflowClient

    def check(self) -> None:
        """Raise if something that must run has ended.

        Raises:
            UnavailableError: something has.
        """

    def stop(self, report: Callable[[str], None]) -> None:
        """Stop everything, and take it away.

        Args:
            report: called at every poll with what still has to end.
        """

    def left_running(self) -> str:
        """Where everything is that was left running, for a person."""


@dataclass
class Story(ABC):
    """Runs the releases and notes what did not hold.

    Attributes:
        stack: that runs.
        traffic: of the clients.
        progress: tells what is being done.
        broken: every expectation that did not hold, in words.
        conf: of every run.
    """

    stack: Stack
    traffic: Clients
    progress: Progress
    broken: list[str] = field(default_factory=list)
    conf: dict[str, Any] = field(default_factory=dict)
    _train_to_exposed_s: float = 0.0
    _said: str = ""

    @abstractmethod
    def start(self) -> None:
        """Bring everything up, with a first revision in service: what a team has on its first day."""

    def good(self) -> Release:
        """A good release: promoted, and the alias moves to it."""
        release, rollout = self._release("good", {"seed": 1}, at_exposed=self._during_good)
        self._expect(release.result == "promoted", f"the good release was {release.result}: {release.reason}")
        accuracy = self._accuracy(rollout)
        self._expect(accuracy >= _MIN_ACCURACY, f"accuracy {accuracy} of the good release is under {_MIN_ACCURACY}")
        self._expect(self._champion() == self._version(rollout), "the alias did not move to the good release")
        return release

    def bad(self) -> Release:
        """A release that passes every check and fails under live traffic: rolled back."""
        before = self._champion()
        release, rollout = self._release("bad", {"seed": 2, "fault": "flaky"})
        self._expect(self._accuracy(rollout) >= _MIN_ACCURACY, "the bad release should pass the offline checks")
        self._expect_rolled_back(release, before)
        self._expect(release.failed > 0, "the bad release failed no request: nothing was shown")
        return release

    def hanging(self) -> Release:
        """A release that waits for ever in the middle of its rollout: its deadline rolls it back."""
        before = self._champion()
        # Half as long again as the first release took to get there: late enough for a busy machine to be in the
        # middle of the rollout, early enough for an audience.
        deadline_s = int(self._train_to_exposed_s * 1.5) + 12
        conf = {"seed": 3, "min_requests": _NEVER, "deadline_s": deadline_s}
        self.progress.say(f"this run gives itself {deadline_s} s; at 10 % it waits for {_NEVER:,} requests")
        release, _ = self._release("hanging", conf, at_containment=self._task_still_waits)
        self._expect_rolled_back(release, before)
        self._expect(
            "deadline" in release.reason, f"the hanging release came back for another reason: {release.reason}"
        )
        return release

    def check_traffic(self, releases: list[Release]) -> int:
        """What must hold of the traffic as a whole.

        Returns:
            Connection errors that clients met.
        """
        answers = self.traffic.answers
        errors = [answer.error for answer in answers if answer.error]
        self._expect(not errors, f"clients met connection errors: {errors[:5]}")
        elsewhere = sum(release.failed_elsewhere for release in releases)
        seen = Counter(f"{answer.status} by {answer.revision}" for answer in answers if not answer.ok)
        self._expect(
            elsewhere == 0, f"{elsewhere} requests failed on a revision other than the released one; all: {dict(seen)}"
        )
        self._expect(
            all(not release.failed for release in releases if release.name != "bad"), "a healthy release failed"
        )
        right = sum(answer.right for answer in answers if answer.ok) / max(1, sum(answer.ok for answer in answers))
        self._expect(right >= 0.9, f"only {right:.1%} of the answers name the right digit")
        self.progress.say(f"{len(answers):,} requests, each answer checked: {right:.1%} name the right digit")
        return len(errors)

    @abstractmethod
    def _during_good(self) -> None:
        """What happens while the good release is on its way."""

    def _release(
        self,
        name: str,
        conf: dict[str, Any],
        at_exposed: Callable[[], None] = lambda: None,
        at_containment: Callable[[str], None] = lambda _: None,
    ) -> tuple[Release, Rollout]:
        run_id, begin, conf = f"{name}-release", time.time(), {**self.conf, **conf}
        self.progress.say(f"[b]{name} release[/b]: Airflow runs {DAG_ID} ({conf})")
        self.stack.airflow.trigger(DAG_ID, run_id, conf)
        owner = run_owner(DAG_ID, run_id)
        rollout = self.progress.wait(
            "train and evaluate", lambda: self._find(owner, run_id), lambda: self._states(run_id)
        )
        rollout = self._wait_for(rollout, lambda now: now.exposed_at or now.phase.ended, "the candidate to be ready")
        self._train_to_exposed_s = self._train_to_exposed_s or time.time() - begin
        at_exposed()
        rollout = self._wait_for(rollout, lambda now: now.contained_at or now.phase.ended, "the rollout")
        if rollout.contained_at is not None:
            at_containment(run_id)
        rollout = self._wait_for(rollout, lambda now: now.phase.ended, "the rollout's end")
        state = self.progress.wait("the run's end", lambda: self._ended(run_id), lambda: self._states(run_id))
        self._expect(
            (state == "success") == (rollout.phase is Phase.PROMOTED),
            f"the {name} run is {state} though its release was {rollout.phase}",
        )
        if rollout.phase is Phase.ROLLED_BACK:
            log = self.stack.airflow.log(DAG_ID, run_id, "deploy")
            self._expect(
                f"Rolled back: revision {rollout.revision_id}" in log,
                f"the log of the {name} run's deploy task does not name the reason",
            )
        self._expect(self._all_on_stable(), f"after the {name} release the traffic is {self._split()}")
        release = self._describe(name, run_id, rollout, begin)
        self.progress.say(f"[b]{name} release: {release.result}[/b] ({escape(str(release.reason))})")
        return release, rollout

    def _describe(self, name: str, run_id: str, rollout: Rollout, begin: float) -> Release:
        end = time.time()
        answers = self.traffic.between(begin, end)
        failed = [answer for answer in answers if not answer.ok]
        since = rollout.exposed_at
        if rollout.reason and "deadline" in rollout.reason:
            since = datetime.fromtimestamp(self._deadline(run_id), UTC)
        decided, contained = rollout.decided_at, rollout.contained_at
        reason = rollout.reason or "held at every step: " + self._last_passed(rollout)
        return Release(
            name=name,
            run_id=run_id,
            revision=rollout.revision_id,
            result=str(rollout.phase),
            reason=reason,
            detect_s=(decided - since).total_seconds() if decided and since else None,
            rollback_s=(contained - decided).total_seconds() if decided and contained else None,
            begin=begin,
            end=end,
            requests=len(answers),
            failed=len(failed),
            failed_elsewhere=sum(answer.revision != rollout.revision_id for answer in failed),
            last_failed_s=_last(failed, rollout),
        )

    def _wait_for(self, rollout: Rollout, done: Callable[[Rollout], object], what: str) -> Rollout:
        def poll() -> Rollout | None:
            now = self.stack.control.ledger.rollouts.get(rollout.id)
            line = f"rollout {now.id}: {now.phase}, traffic {self._split()}"
            if line != self._said and now.phase in _TOLD:
                self._said = line
                self.progress.say(line)
            return now if done(now) else None

        return self.progress.wait(what, poll)

    def _find(self, owner: str, run_id: str) -> Rollout | None:
        for rollout in self.stack.control.ledger.rollouts.latest(SERVICE):
            if rollout.owner == owner:
                return rollout
        state = self._ended(run_id)
        if state is not None:
            states = self._states(run_id)
            logs = [self.stack.airflow.log(DAG_ID, run_id, task)[-3000:] for task in states.split() if "failed" in task]
            raise UnavailableError(f"run {run_id} is {state} before it released anything: {states} {logs}")
        return None

    def _ended(self, run_id: str) -> str | None:
        state = str(self.stack.airflow.run(DAG_ID, run_id)["state"])
        return state if state in ("success", "failed") else None

    def _states(self, run_id: str) -> str:
        return " ".join(f"{task}={state}" for task, state in self.stack.airflow.task_states(DAG_ID, run_id).items())

    def _deadline(self, run_id: str) -> float:
        run = self.stack.airflow.run(DAG_ID, run_id)
        return datetime.fromisoformat(run["queued_at"]).timestamp() + float(run["conf"]["deadline_s"])

    def _task_still_waits(self, run_id: str) -> None:
        state = self.stack.airflow.task_states(DAG_ID, run_id)["deploy"]
        self.progress.say(f"traffic is back while the deploy task is still [b]{state}[/b]: it never returned")
        self._expect(state in ("deferred", "running", "queued", "scheduled"), f"the deploy task was {state} already")

    def _expect_rolled_back(self, release: Release, champion: str | None) -> None:
        self._expect(release.result == "rolled_back", f"the {release.name} release was {release.result}")
        self._expect(self._champion() == champion, f"the alias moved with the {release.name} release")
        self._expect(release.rollback_s is not None, f"the {release.name} release has no time to roll back")

    def _all_on_stable(self) -> bool:
        stable = self.stack.control.ledger.services.get(SERVICE).stable_revision
        return self.stack.control.backends(SERVICE).router.read(SERVICE)[1].weights == {stable: 100}

    def _split(self) -> str:
        weights = self.stack.control.backends(SERVICE).router.read(SERVICE)[1].weights
        return ", ".join(f"{name} {weight} %" for name, weight in weights.items()) or "no revision"

    def _champion(self) -> str | None:
        return MlflowRegistry(self.stack.settings.mlflow_tracking_uri).champion(MODEL)

    def _version(self, rollout: Rollout) -> str | None:
        return self.stack.control.ledger.revisions.get(rollout.revision_id).model_version

    def _accuracy(self, rollout: Rollout) -> float:
        return float(self.stack.control.ledger.revisions.get(rollout.revision_id).evidence.get("accuracy_score", 0.0))

    def _last_passed(self, rollout: Rollout) -> str:
        passed = self.stack.control.ledger.events.select(rollout.id, "passed")
        return str(passed[-1].data["reason"]) if passed else "not judged"

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.broken.append(otherwise)
            self.progress.say(f"[red]expectation broken: {escape(otherwise)}[/red]")


def _last(failed: Sequence[Answer], rollout: Rollout) -> float | None:
    """From the decision to roll back until the last bad answer of the revision was complete, in seconds."""
    ends = [answer.at + answer.latency_s for answer in failed if answer.revision == rollout.revision_id]
    if rollout.phase is not Phase.ROLLED_BACK or rollout.decided_at is None or not ends:
        return None
    return max(ends) - rollout.decided_at.timestamp()
