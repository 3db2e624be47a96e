"""What a user names as ``package.module:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from bulkhead.gpu_tasks.errors import ConfigError


def function(field: str, name: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        field: where its name stands, for errors.
        name: ``package.module:function``.

    Raises:
        ConfigError: it cannot be imported, or is not there; the text names the field and the remedy.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as wrong:
        raise ConfigError(
            f"{field} = {name!r}: cannot be imported in this pod ({wrong}); put it on its image's PYTHONPATH"
        ) from wrong
    named = getattr(module, attribute, None)
    if not callable(named):
        raise ConfigError(f"{field} = {name!r}: module {module_name} has no function {attribute}")
    return named  # type: ignore[no-any-return]
