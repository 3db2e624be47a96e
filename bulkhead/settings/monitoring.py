"""Where a long-running part says how it is."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class MonitoringSettings(BaseModel):
    """The port of probes and metrics, which every long-running part has: ``/livez``, ``/readyz``, ``/metrics``.

    Attributes:
        port: TCP port; 0 for one that is free, which the log names.
        host: address to listen on.
        token_file: holds the bearer token that ``/metrics`` wants. Without it, ``/metrics`` is there on loopback alone.
        hung_after_s: ``/livez`` fails once a pass has lasted for so long, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    port: int = Field(ge=0, le=65535)
    host: str = "127.0.0.1"
    token_file: Path | None = None
    hung_after_s: float = Field(300.0, gt=0)

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can ask."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
