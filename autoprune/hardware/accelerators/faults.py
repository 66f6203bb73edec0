"""What is wrong with an accelerator's file, in one line, with the nearest that would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from autoprune.foundations.files import shortened
from autoprune.foundations.names import nearest_name

__all__ = ["faults_of"]

_LISTED = 3

_BOUNDS = {"ge": "{} or more", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}


def faults_of(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first faults, joined by semicolons.

    Args:
        error: What validation found.
        kind: The model that was validated: its keys are what a wrong one is near to.
    """
    faults = [_fault(fault, kind) for fault in error.errors(include_url=False)]
    more = [f"{len(faults) - _LISTED} more faults"] if len(faults) > _LISTED else []
    return "; ".join([*faults[:_LISTED], *more])


def _fault(fault: Mapping[str, Any], kind: type[BaseModel]) -> str:
    path = [str(part) for part in fault["loc"]]
    name = shortened(".".join(path), 60)
    if fault["type"] == "extra_forbidden":
        return f"there is no key {name!r}; {nearest_name(path[-1], _keys(kind, path[:-1]))}"
    if fault["type"] == "missing":
        return f"the key {name!r} is missing"
    given = shortened(repr(fault["input"]), 40)
    bound = _bound(fault)
    if bound is not None:
        return f"{name}: must be {bound}, not {given}"
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{name}: {message}, not {given}" if name else message


def _bound(fault: Mapping[str, Any]) -> str | None:
    """The limit that a number broke, and what is nearest to the number within it."""
    context = fault.get("ctx", {})
    for name, words in _BOUNDS.items():
        if name in context and isinstance(fault["input"], int | float):
            limit, given = context[name], fault["input"]
            mirrored = -given if given < 0 < -given and name in ("ge", "gt") and -given >= limit else None
            nearest = mirrored if mirrored is not None else limit if name in ("ge", "le") else None
            return words.format(f"{limit:g}") + (f" (the nearest is {nearest:g})" if nearest is not None else "")
    return None


def _keys(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys of the section at a path."""
    for part in path:
        found = next((f for name, f in kind.model_fields.items() if part in (name, f.alias)), None)
        section = None if found is None else found.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        kind = section
    return [field.alias or name for name, field in kind.model_fields.items()]
