"""Public names of a package that are imported when they are first used, so that importing the package is cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562) whose names lie in other modules.

    Args:
        package: The package's `__name__`.
        homes: Public name -> the module that has it, or `module:attribute` where it is called otherwise there; a module
            of the package itself (`package.name`) is the name's own.

    >>> get, names = lazy_names("json", {"read": "json.decoder:JSONDecoder"})
    >>> get("read").__name__
    'JSONDecoder'
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        loaded = importlib.import_module(module)
        found = loaded if module == f"{package}.{name}" else getattr(loaded, attribute or name)
        setattr(sys.modules[package], name, found)  # the next use does not come here
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
