"""Whose devices are watched, and what becomes of the unhealthy ones."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_FRESH, _POLLS = timedelta(minutes=10), 3
"""What a watch has left is believed for so long, or for so many of its polls."""


class Exporter(BaseModel):
    """A dcgm-exporter, of one node or of several behind one address.

    Attributes:
        url: of its metrics.
        token_variable: environment variable that holds a bearer token; None where it needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    url: str = Field(pattern="^https?://")
    token_variable: str | None = None


class FleetPrometheus(Exporter):
    """A Prometheus server that scrapes the exporters.

    Attributes:
        selector: more label matchers, for instance ``cluster="a"``.
    """

    selector: str = ""


class KernelLog(BaseModel):
    """The kernel log of this machine, or of a node whose logs arrive here.

    Attributes:
        path: of the file.
        node: host name; by default this machine's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: Path
    node: str | None = None


class FleetSettings(BaseModel):
    """Whose devices are watched, and what becomes of the unhealthy ones.

    Attributes:
        exporters: dcgm-exporters that are asked by themselves.
        prometheus: a server that has scraped them.
        nvml: whether this machine's own GPUs are looked at.
        kernel_logs: files with Xids.
        nodes: whether the cluster is asked for its nodes; quarantines are on paper where it is not.
        cluster: Airflow connection, as in ``kubeconfigs``; by default the pod's own service account, or the default
            kubeconfig.
        policy: YAML file of thresholds (``bulkhead.health.policy``); its defaults where None.
        poll_s: how often to look, in seconds.
        quarantine: whether unhealthy devices are kept away from work; False: they are only told of.
        budget_share: share of the devices of a model that may be in quarantine at once, but for the first.
        pods: what becomes of a quarantined node's GPU pods: ``leave`` them, ``drain`` them by eviction after
            ``grace_s``, or ``kill`` them.
        grace_s: in seconds.
        probation_s: first probation, in seconds; each relapse doubles it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    exporters: tuple[Exporter, ...] = ()
    prometheus: FleetPrometheus | None = None
    nvml: bool = False
    kernel_logs: tuple[KernelLog, ...] = ()
    nodes: bool = False
    cluster: str | None = None
    policy: Path | None = None
    poll_s: float = Field(15.0, gt=0, le=3600)
    quarantine: bool = True
    budget_share: float = Field(0.05, gt=0, le=1)
    pods: Literal["leave", "drain", "kill"] = "leave"
    grace_s: float = Field(600.0, ge=0)
    probation_s: float = Field(3600.0, gt=0)

    @property
    def believed_for(self) -> timedelta:
        """For how long what a watch has left is believed."""
        return max(_FRESH, _POLLS * timedelta(seconds=self.poll_s))

    def budget(self, devices: int) -> int:
        """How many devices of a model may be in quarantine at once."""
        return max(1, int(self.budget_share * devices))
