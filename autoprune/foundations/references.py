"""What a user names as "package.module:attribute": found, and called without letting its errors through raw."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoprune.errors import InputError
from autoprune.foundations.user_code import UserCode, described

__all__ = ["call", "importable_here", "is_reference", "locate", "resolve"]


def is_reference(spec: str) -> bool:
    """Whether a spec has the form of a reference: a colon, and no folder or drive before it."""
    module, colon, attribute = spec.partition(":")
    return bool(colon) and all(part.isidentifier() for part in f"{module}.{attribute}".split("."))


def locate(spec: str) -> Any:
    """What "package.module:attribute" names; whatever the import raises comes through. See `importable_here`."""
    name, _, attribute = spec.partition(":")
    with importable_here():
        found: Any = importlib.import_module(name)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def resolve(spec: str, option: str) -> Callable[..., Any]:
    """The callable that "package.module:attribute" names; `importable_here` says what can be imported.

    Args:
        spec: The reference; the attribute may have dots.
        option: What the user gave it to, for the messages.

    Raises:
        InputError: If there is no such module or attribute, the module fails while it is imported, or the attribute
            cannot be called.
    """
    name, _, attribute = spec.partition(":")
    try:
        found = locate(spec)
    except ModuleNotFoundError as error:
        missing = error.name or name
        where = f" (imported by {name})" if not (name == missing or name.startswith(f"{missing}.")) else ""
        raise InputError(
            f"{option} {spec}: there is no module {missing}{where}; it must be installed, or lie in {Path.cwd()}"
        ) from error
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        if name in sys.modules and isinstance(error, AttributeError):  # a module that failed is not kept there
            raise InputError(f"{option} {spec}: {name} has no {attribute}") from error
        raise InputError(f"{option} {spec}: importing {name} failed: {described(error)}") from error
    if not callable(found):
        raise InputError(f"{option} {spec}: {attribute} is {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def call(function: Callable[..., Any], spec: str) -> Any:
    """Calls a user's function without arguments; `importable_here` says what can be imported meanwhile.

    Raises:
        InputError: If it raises; see `UserCode`.
    """
    with importable_here(), UserCode(spec):
        return function()


@contextmanager
def importable_here() -> Iterator[None]:
    """The current folder in front of the import path, as for a script in it; taken off again afterwards."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
