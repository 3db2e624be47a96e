"""The command line."""

from bulkhead.cli import demos, fleet, gate, project, releases, services, show, status, ui
from bulkhead.cli.console import app

__all__ = ["app", "demos", "fleet", "gate", "project", "releases", "services", "show", "status", "ui"]
