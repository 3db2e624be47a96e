"""Who runs this process, for the record."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """The login's name; in a container, whose user often has none, ``uid-`` and its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises the other one
        return f"uid-{os.getuid()}"
