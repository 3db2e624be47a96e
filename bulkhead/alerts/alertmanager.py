"""What an alert of Alertmanager asks for, and doing it.

An alert is meant for us if it has the label ``bulkhead_service``. Further labels: ``bulkhead_action`` (``roll-back``,
the default, or ``isolate``), ``bulkhead_revision`` (only this one), ``bulkhead_within`` (``30m``, ``1h``, the default):
a revision that was released before that is left alone, since an alert of today is no matter of last month's release.

Source: Alertmanager's webhook payload, version 4, of which ``alerts`` is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkhead.control import Control
from bulkhead.errors import BulkheadError, InvalidInputError, UnavailableError, first_invalid
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase

_PREFIX = "bulkhead_"
_WITHIN = re.compile(r"^(\d{1,6})([smhd])$")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_ALERTS = 1000
_MOST_ROLLOUTS = 1000


class Alert(BaseModel):
    """One alert.

    Attributes:
        status: ``firing`` or ``resolved``.
        labels: by name.
        annotations: by name.
        starts_at: when it began; the same for as long as it is told again.
        fingerprint: of its labels.
    """

    model_config = ConfigDict(extra="ignore")

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    starts_at: datetime = Field(alias="startsAt")
    fingerprint: str = Field(min_length=1, max_length=128)

    @property
    def name(self) -> str:
        """For people."""
        return self.labels.get("alertname", self.fingerprint)

    @property
    def service(self) -> str | None:
        """The service that it is about; None where it names none."""
        return self.labels.get(_PREFIX + "service")

    @property
    def revision(self) -> str | None:
        """The revision that it is about alone; None for whichever serves."""
        return self.labels.get(_PREFIX + "revision")

    @property
    def key(self) -> str:
        """Idempotency key: the same however often Alertmanager repeats it."""
        return f"alert/{self.fingerprint}/{self.starts_at.isoformat()}"

    @property
    def reason(self) -> str:
        """For people: its name and summary."""
        summary = self.annotations.get("summary") or self.annotations.get("description") or ""
        return f"alert {self.name}{': ' if summary else ''}{summary}"[:1000]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: Literal["4"]
    alerts: list[Alert] = Field(max_length=_MOST_ALERTS)


def parse_alerts(document: Any) -> list[Alert]:
    """Read what Alertmanager posts.

    Raises:
        InvalidInputError: it is no webhook payload of version 4; names the field.
    """
    try:
        return _Payload.model_validate(document).alerts
    except ValidationError as error:
        raise first_invalid(error, "alertmanager") from error


class Responder:
    """Does what alerts ask for.

    Args:
        clock: gives the time in UTC.
    """

    def __init__(self, control: Control, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._control, self._clock = control, clock

    def respond(self, alert: Alert) -> str:
        """Do what one alert asks for. Told again, it does nothing more.

        Returns:
            What was done, or why nothing was.

        Raises:
            UnavailableError: the ledger does not answer; Alertmanager has to send it again.
        """
        if alert.service is None:
            return f"ignored: it has no label {_PREFIX}service"
        if alert.status == "resolved":
            return "ignored: it is resolved, and what was rolled back stays so"
        try:
            return self._contain(alert, alert.service)
        except UnavailableError:
            raise
        except BulkheadError as error:
            return f"refused: {error}"

    def _contain(self, alert: Alert, service: str) -> str:
        action = alert.labels.get(_PREFIX + "action", "roll-back")
        if action not in ("roll-back", "isolate"):
            raise InvalidInputError(f"labels.{_PREFIX}action", action, "give roll-back or isolate")
        within = _within(alert.labels)
        self._control.settings.service(service)
        request = Request(alert.key, alert.reason, f"alertmanager: {alert.name}")
        if self._control.commands.acted(request):
            return "done before"  # who serves now may be the very one that was returned to
        going = self._control.ledger.rollouts.active_of(service)
        revision = going.revision_id if going else self._control.ledger.services.get(service).stable_revision
        if revision is None or alert.revision not in (None, revision):
            return f"ignored: {alert.revision or 'no revision'} has no traffic of {service}"
        if going is None and (age := self._age(service, revision)) > within:
            return f"ignored: revision {revision} was released {age} ago, longer than {_PREFIX}within = {within}"
        if action == "isolate":
            self._control.commands.isolate(revision, request)
            return f"isolated: {revision}"
        rollout = self._control.commands.roll_back_revision(service, revision, request)
        return f"rolled back: {revision}" if rollout else f"ignored: {revision} has no traffic of {service}"

    def _age(self, service: str, revision: str) -> timedelta:
        """Since when a revision has been released: one that was only returned to is as old as its first release."""
        rollouts = self._control.ledger.rollouts.latest(service, limit=_MOST_ROLLOUTS)
        promoted = [
            rollout for rollout in rollouts if rollout.revision_id == revision and rollout.phase is Phase.PROMOTED
        ]
        ended = [earlier.ended_at for earlier in promoted if earlier.ended_at]
        age = self._clock() - min(ended) if ended else timedelta.max
        return age - timedelta(microseconds=age.microseconds)


def _within(labels: Mapping[str, str]) -> timedelta:
    text = labels.get(_PREFIX + "within", "1h")
    match = _WITHIN.match(text)
    if match is None:
        raise InvalidInputError(f"labels.{_PREFIX}within", text, "give a number with a unit: 90s, 30m, 1h, 2d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
