"""What a decision may be about, and how each kind behaves: what searches, policies and files ask of it.

A technique brings its kinds (`autoprune.techniques.base.Technique.kinds`); another package registers its own under the
entry points `autoprune.kinds`, or with `KINDS.register`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.foundations.names import nearest_name
from autoprune.foundations.registry import Registry

__all__ = [
    "BITS",
    "BLOCK",
    "CHANNELS",
    "EXIT",
    "KEPT",
    "KINDS",
    "NM",
    "STRUCTURED",
    "ZEROS",
    "DecisionKind",
    "Stage",
    "checked_kinds",
    "kind_of",
]

CHANNELS = "channels"
BLOCK = "block"
STRUCTURED = "structured"
"""The technique that changes widths and drops branches; its decisions are about units of coupled groups."""


class Stage(IntEnum):
    """When a technique is applied: those that change the graph first, those that change number formats last."""

    GRAPH = 0
    SHAPE = 1
    MASK = 2
    FORMAT = 3


@dataclass(frozen=True)
class DecisionKind:
    """How decisions of one kind behave; options are always kept units, ascending, the last is whole.

    Attributes:
        name: What policies and `--kinds` call it.
        noun: What one decision of it is called, for people.
        least: The least option that is allowed.
        width: Units that every decision of it has; None where it depends on the layer.
        by_default: Whether a search space has it if the user names no kinds.
        uniform: What a uniform policy does with it: keep the same `share` as of every other, `keep` all of it, or take
            the `least` option wherever it does not keep everything.
        gates: Whether option 0 switches off whatever lies within, so that decisions there no longer matter.
        in_channels: Whether a granularity for this kind counts channels, of which one unit may be several.
        technique: Name of the technique that carries its decisions out.
        stage: When that technique is applied.
    """

    name: str
    noun: str
    least: int = 1
    width: int | None = None
    by_default: bool = True
    uniform: Literal["share", "keep", "least"] = "share"
    gates: bool = False
    in_channels: bool = False
    technique: str = STRUCTURED
    stage: Stage = Stage.SHAPE


KINDS: Registry[DecisionKind] = Registry("kind of decision", {}, "autoprune.kinds")
"""Kinds of decisions by name: widths, counted in units of some kind, and residual branches."""

for _kind in (
    DecisionKind(CHANNELS, "width", in_channels=True),
    DecisionKind("heads", "number of heads"),
    DecisionKind("head_size", "head size"),
    DecisionKind("ffn", "hidden width"),
    DecisionKind("embedding", "embedding width"),
    DecisionKind(BLOCK, "block", least=0, width=1, by_default=False, uniform="keep", gates=True),
):
    KINDS.register(_kind.name, _kind)

NM = DecisionKind("nm", "number of weights of a group", technique="nm", stage=Stage.MASK)
"""How many of M neighbouring weights stay; here, so that `--kinds nm` is known before its technique is loaded."""
ZEROS = DecisionKind(
    "zeros", "thousandths of a tensor's weights", by_default=False, technique="zeros", stage=Stage.MASK
)
"""How many thousandths of a tensor's weights stay."""
KEPT = DecisionKind("kept", "number of kept units of a group", by_default=False, technique="kept", stage=Stage.MASK)
"""How many units of every group of an accelerator's pattern stay."""
BITS = DecisionKind(
    "bits", "number of bits", width=32, by_default=False, uniform="least", technique="bits", stage=Stage.FORMAT
)
"""How many bits the numbers have that the layers of one coupled group compute with."""
EXIT = DecisionKind("exit", "exit", least=0, width=1, by_default=False, uniform="keep", technique="exits")
"""Whether an exit stands at a place of the network: 0 where it does, 1 where everything passes."""
for _kind in (NM, ZEROS, KEPT, BITS, EXIT):
    KINDS.register(_kind.name, _kind)


def kind_of(name: str) -> DecisionKind:
    """The kind of a name; one that no installed package knows (a policy of elsewhere) behaves as a plain width."""
    return KINDS.get(name) if name in KINDS else DecisionKind(name, name)


def checked_kinds(kinds: Iterable[str] | None) -> tuple[str, ...]:
    """The kinds of decisions that a space has; those that are there by default if not said.

    >>> checked_kinds(None)[:5]
    ('channels', 'heads', 'head_size', 'ffn', 'embedding')

    Raises:
        InputError: If there is none, or one is unknown.
    """
    chosen = tuple(kind for kind in KINDS if KINDS.get(kind).by_default) if kinds is None else tuple(kinds)
    unknown = next((kind for kind in chosen if kind not in KINDS), None)
    if unknown is not None:
        raise InputError(f"unknown kind of decision {shortened(repr(unknown))}; {nearest_name(unknown, KINDS)}")
    if not chosen:
        raise InputError(f"a search space needs a kind of decisions; known: {', '.join(KINDS)}")
    return chosen
