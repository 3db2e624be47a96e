"""The command line."""

from bulkhead.cli import fleet, releases, services, status
from bulkhead.cli.console import app

__all__ = ["app", "fleet", "releases", "services", "status"]
