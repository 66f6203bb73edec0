"""Techniques by name; other packages name theirs in the entry points `autoprune.techniques`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.foundations.references import is_reference, resolve
from autoprune.foundations.registry import Registry
from autoprune.space import BITS, EXIT, KEPT, KINDS, NM, STRUCTURED, ZEROS, first_fault

if TYPE_CHECKING:  # names are listed without torch
    from autoprune.techniques.base import Technique

__all__ = ["TECHNIQUES", "technique_of", "techniques_of"]

TECHNIQUES: Registry[type[Technique[Any]]] = Registry(
    "technique",
    {
        STRUCTURED: "autoprune.techniques.structured.technique:Structured",
        NM.technique: "autoprune.techniques.sparsity.nm:NofMSparsity",
        KEPT.technique: "autoprune.techniques.sparsity.kept:Kept",
        ZEROS.technique: "autoprune.techniques.sparsity.zeros:Zeros",
        BITS.technique: "autoprune.techniques.formats.bits:Bits",
    },
    "autoprune.techniques",
)


def techniques_of(names: Sequence[str]) -> tuple[Technique[Any], ...]:
    """The techniques of some names, in the order of their stages.

    Args:
        names: Each a name or `package.module:Class`, with settings behind an @: `magnitude@levels=4+least=0.2`.

    Raises:
        InputError: If one is unknown or named twice, or its settings are wrong.
    """
    made = [technique_of(name) for name in names]
    twice = next((each.name for each in made if [m.name for m in made].count(each.name) > 1), None)
    if twice is not None:
        raise InputError(f"the technique {twice!r} is named twice")
    if not made:
        raise InputError(f"a run needs a technique; known: {', '.join(TECHNIQUES)}")
    return tuple(sorted(made, key=lambda technique: technique.stage))


def technique_of(text: str) -> Technique[Any]:
    """One technique, with its settings; its kinds of decisions are known from now on.

    Raises:
        InputError: If it is unknown, or its settings are wrong.
    """
    from autoprune.techniques.base import Technique

    name, _, words = text.strip().partition("@")
    if name == EXIT.technique:
        raise InputError(f"{EXIT.name} is decided on by autoprune dynamic --kinds channels,exit; leave it out here")
    found: Any = resolve(name, "--techniques") if is_reference(name) else TECHNIQUES.get(name)
    if not (isinstance(found, type) and issubclass(found, Technique)):
        raise InputError(f"{name} is no subclass of autoprune.techniques.base.Technique")
    for kind in found.kinds:
        KINDS.register(kind.name, kind)
    if is_reference(name) and found.name not in TECHNIQUES:
        TECHNIQUES.register(found.name, found)  # its policies name it by its own name
    return found(_settings(found, words) if words else None)


def _settings(kind: type[Technique[Any]], words: str) -> Any:
    pairs = [word.partition("=") for word in words.split("+")]
    if kind.settings_class is None or not all(name and equals for name, equals, _ in pairs):
        known = () if kind.settings_class is None else tuple(kind.settings_class.model_fields)
        raise InputError(f"--techniques {kind.name}@{shortened(words)}: its settings are {', '.join(known) or 'none'}")
    try:
        return kind.settings_class.model_validate({name.replace("-", "_"): value for name, _, value in pairs})
    except ValidationError as error:
        raise InputError(f"--techniques {kind.name}@{shortened(words)}: {first_fault(error)}") from error
