"""The command line."""

from bulkhead.cli import fleet, gate, project, releases, services, status
from bulkhead.cli.console import app

__all__ = ["app", "fleet", "gate", "project", "releases", "services", "status"]
