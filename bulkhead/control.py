"""Putting the parts together: settings in; ledger, commands and reconciler out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

from bulkhead import fleets
from bulkhead.backends import ServingBackends
from bulkhead.commands import Commands
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.watch import FleetWatch
from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.pods.suspicion import Avoidance
from bulkhead.registries.mlflow import MlflowRegistry
from bulkhead.rollout.devices import Devices
from bulkhead.rollout.loop import Around, reconcile_until
from bulkhead.rollout.reconciler import Reconciler
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.settings import Settings


@dataclass(frozen=True)
class Control:
    """The parts that one configuration describes; each is made on first use.

    Attributes:
        settings: the configuration.
    """

    settings: Settings

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, migrated."""
        return Ledger(self.settings.ledger)

    @cached_property
    def commands(self) -> Commands:
        """What can be asked for."""
        return Commands(self.settings, self.ledger)

    @cached_property
    def runtime(self) -> LocalRuntime:
        """The local runtime."""
        return LocalRuntime(self.settings.pods, self.settings.simulated_gpus)

    @cached_property
    def backends(self) -> ServingBackends:
        """Where a service runs, by its name."""
        return ServingBackends(self.settings, self.runtime)

    @cached_property
    def reconciler(self) -> Reconciler:
        """The reconciler."""
        self.load_credentials()
        devices = Devices(self.ledger.quarantines, self.ledger.fleet, self.settings.fleet)
        registry = MlflowRegistry(self.settings.mlflow_tracking_uri)
        leases = Leases(self.ledger.engine, self.settings.lease_s)
        return Reconciler(self.ledger, self.backends, registry, devices, leases, self.settings.services)

    def fleet_watch(self) -> FleetWatch:
        """A watch of the fleet, which goes on where the last one ended."""
        return fleets.watch(self.settings, self.ledger, suspected=lambda: self.avoidance().reasons)

    def avoidance(self) -> Avoidance:
        """Where launches should not go now; see ``fleets.avoidance``."""
        return fleets.avoidance(self.settings, self.ledger)

    def quarantine_controller(self) -> QuarantineController:
        """Who keeps the fleet's unhealthy devices away from work."""
        return fleets.controller(self.settings, self.ledger.quarantines)

    def load_credentials(self) -> None:
        """Give this process MLflow's credentials, unless its environment has them already."""
        for variable, (secret, key) in self.backends.local_credentials().items():
            if variable not in os.environ:
                os.environ[variable] = (self.runtime.layout.secrets / secret / key).read_text(encoding="utf-8")

    def reconcile_until(self, done: Callable[[], bool], stop: threading.Event, around: Around = nullcontext) -> bool:
        """Reconcile until something is so; see ``bulkhead.rollout.loop``."""
        return reconcile_until(self.reconciler, self.settings.home, done, stop, around)
