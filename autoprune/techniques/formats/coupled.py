"""Which layers can compute with integers, and which of them have to do so together."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoprune.graph import Analysis, Extent, Op
from autoprune.graph.operators import WEIGHTED

__all__ = ["Coupled", "CoupledLayers", "coupled_layers"]


@dataclass(frozen=True)
class Coupled:
    """Layers whose outputs are added, or lie in one width: one decision.

    Attributes:
        name: Of the decision: the first layer's, with `.bits` behind it.
        group: The width that they write; empty where that is none.
        layers: Qualified names of modules, in forward order.
        nodes: Their graph nodes.
    """

    name: str
    group: str
    layers: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class CoupledLayers:
    """All of a network.

    Attributes:
        groups: By name of the decision, in forward order.
        refused: Name of a layer -> why it computes with float32.
    """

    groups: Mapping[str, Coupled]
    refused: Mapping[str, str] = field(default_factory=dict)


_KNOWN: weakref.WeakKeyDictionary[Analysis, CoupledLayers] = weakref.WeakKeyDictionary()


def coupled_layers(analysis: Analysis) -> CoupledLayers:
    """Convolutions and linear layers by the width that they write.

    What is added computes with integers only where all that is added does, so layers of one width decide together; a
    width with a layer that cannot stays float32. An analysis is asked once and remembered while it lives.
    """
    known = _KNOWN.get(analysis)
    if known is None:
        known = _KNOWN[analysis] = _coupled(analysis)
    return known


def _coupled(analysis: Analysis) -> CoupledLayers:
    weighted = [op for op in analysis.ops if op.kind in WEIGHTED]
    calls = Counter(op.name for op in weighted)
    refused = {op.name: reason for op in weighted if (reason := _why_not(op, calls[op.name])) is not None}
    members: dict[str, list[Op]] = {}
    for op in weighted:
        members.setdefault(_width_of(op) or f"the layer {op.name}", []).append(op)
    groups = {}
    for width, ops in members.items():
        other = next((op.name for op in ops if op.name in refused), None)
        if other is not None:
            together = f"its outputs are added to those of {other}, which computes with float32"
            refused |= {op.name: together for op in ops if op.name not in refused}
            continue
        name = f"{ops[0].name}.bits"
        group = width if _width_of(ops[0]) else ""
        groups[name] = Coupled(name, group, tuple(op.name for op in ops), tuple(op.node for op in ops))
    return CoupledLayers(groups, refused)


def _width_of(op: Op) -> str:
    """The coupled groups that a layer's outputs lie in, as one name; empty for none."""
    size = op.output[1] if op.kind != "linear" and len(op.output) > 1 else op.output[-1]
    return " ".join(size.scope) if isinstance(size, Extent) else ""


def _why_not(op: Op, calls: int) -> str | None:
    """Why a layer cannot compute with integers; None where it can."""
    if op.transposed:
        return "a transposed convolution has no integer kernel here"
    if op.weight_dims != (0, 1) or not op.tensors or op.tensors[0] != f"{op.name}.weight":
        return "it is no convolution or linear layer of its own, whose weight is a parameter"
    return "it is called more than once" if calls > 1 else None
