"""Parts by name: "module:attribute" is imported when it is first wanted."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def fetch(target: str) -> Any:
    """The object that "module:attribute" names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
