"""When a device counts as unhealthy: every threshold, in one typed file."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bulkhead.errors import InvalidInputError, first_invalid


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Xids(_Section):
    """Xids.

    Attributes:
        memory_s: an Xid speaks against its device for so long, in seconds.
        application_memory_s: an application's Xid is remembered for so long, in seconds.
        application_jobs: the same application Xid under so many different jobs makes the device suspect; under one
            more, unhealthy. Under one job it is the job's own fault, however often.
        recurrences: an Xid that may be either's, or a link's, makes the device unhealthy at so many times within the
            memory.
    """

    memory_s: float = Field(3600.0, gt=0)
    application_memory_s: float = Field(604800.0, gt=0)
    application_jobs: int = Field(2, ge=2)
    recurrences: int = Field(3, ge=2)


class Memory(_Section):
    """ECC and row remapping.

    Attributes:
        uncorrected: uncorrectable errors within the memory of Xids that make a device unhealthy.
        corrected_per_hour: correctable errors an hour that make it suspect.
        rows_uncorrected: rows remapped for uncorrectable errors, within the memory, that make it suspect.
    """

    uncorrected: int = Field(1, ge=1)
    corrected_per_hour: float = Field(1000.0, gt=0)
    rows_uncorrected: int = Field(1, ge=1)


class Heat(_Section):
    """Temperature and throttling.

    Attributes:
        hot_c: GPU temperature, in degrees Celsius.
        memory_hot_c: of its memory.
        suspect_s: hot, throttled for heat, or braked for power for so long, in seconds, is suspect.
        unhealthy_s: and for so long is unhealthy.
    """

    hot_c: float = Field(92.0, gt=0)
    memory_hot_c: float = Field(105.0, gt=0)
    suspect_s: float = Field(60.0, ge=0)
    unhealthy_s: float = Field(600.0, ge=0)


class Links(_Section):
    """PCIe and NVLink.

    Attributes:
        pcie_replays_per_minute: that make a device suspect.
        narrow_s: fewer PCIe lanes than it has for so long, in seconds, is unhealthy.
        nvlink_errors_per_minute: that make it suspect.
    """

    pcie_replays_per_minute: float = Field(8.0, gt=0)
    narrow_s: float = Field(120.0, ge=0)
    nvlink_errors_per_minute: float = Field(100.0, gt=0)


class Hang(_Section):
    """Busy without progress: some kernel runs all the time, and nothing moves.

    Attributes:
        suspect_s: for so long, in seconds, is suspect. A hang is a job's fault as often as a device's, so it never
            makes a device unhealthy by itself.
        utilisation: percent, from which a device counts as busy.
        active_ratio: share of active SMs and of memory traffic below which nothing moves.
    """

    suspect_s: float = Field(600.0, ge=0)
    utilisation: float = Field(99.0, gt=0, le=100)
    active_ratio: float = Field(0.01, ge=0, le=1)


class Peers(_Section):
    """Slow against devices of the same model under the same load.

    Attributes:
        least: so many devices have to be compared, itself included.
        utilisation: percent, from which a device counts as loaded.
        z: robust z-score (median and MAD) beyond which it is an outlier.
        suspect_drop: share of the median that it is below, besides, to be suspect.
        unhealthy_drop: and to be unhealthy.
        for_s: and for so long, in seconds.
    """

    least: int = Field(8, ge=4)
    utilisation: float = Field(90.0, gt=0, le=100)
    z: float = Field(5.0, gt=0)
    suspect_drop: float = Field(0.05, gt=0, lt=1)
    unhealthy_drop: float = Field(0.20, gt=0, lt=1)
    for_s: float = Field(300.0, ge=0)


class Doubt(_Section):
    """When not to believe what is said.

    Attributes:
        stale_s: a device whose last reading is so old, in seconds, is unknown.
        frozen_s: one whose numbers have not moved for so long, in seconds, is unknown.
        gone_polls: a device that so many polls in a row have not shown, on a node that they did show, is gone.
        mass_share: where so large a share of the devices of a model turns unhealthy for one reason, the source is
            doubted, and they count as suspect.
        mass_least: but only from so many devices on.
    """

    stale_s: float = Field(90.0, gt=0)
    frozen_s: float = Field(180.0, gt=0)
    gone_polls: int = Field(2, ge=1)
    mass_share: float = Field(0.2, gt=0, le=1)
    mass_least: int = Field(8, ge=2)


class Policy(_Section):
    """All thresholds.

    Attributes:
        xids: Xids.
        memory: ECC and row remapping.
        heat: temperature and throttling.
        links: PCIe and NVLink.
        hang: busy without progress.
        peers: slow against others.
        doubt: when not to believe.
        suspect_clear_s: a suspect device that shows nothing more is healthy after so long, in seconds.
        unhealthy_clear_s: and an unhealthy one.
        node_devices: so many unhealthy devices on a node make the node unhealthy.
    """

    xids: Xids = Xids()
    memory: Memory = Memory()
    heat: Heat = Heat()
    links: Links = Links()
    hang: Hang = Hang()
    peers: Peers = Peers()
    doubt: Doubt = Doubt()
    suspect_clear_s: float = Field(300.0, ge=0)
    unhealthy_clear_s: float = Field(900.0, ge=0)
    node_devices: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Policy:
        if self.heat.unhealthy_s < self.heat.suspect_s:
            raise ValueError("heat.unhealthy_s is below heat.suspect_s: unhealthy comes after suspect")
        if self.peers.unhealthy_drop < self.peers.suspect_drop:
            raise ValueError("peers.unhealthy_drop is below peers.suspect_drop: unhealthy comes after suspect")
        return self


def load_policy(path: Path | None) -> Policy:
    """Read a policy; what the file leaves out has its default.

    Args:
        path: a YAML file, or None for the defaults.

    Raises:
        InvalidInputError: it cannot be read, or a field is wrong.
    """
    if path is None:
        return Policy()
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInputError("fleet.policy", str(path), f"not readable as YAML: {error}") from error
    try:
        return Policy.model_validate({} if data is None else data)
    except ValidationError as error:
        raise first_invalid(error, str(path)) from error
