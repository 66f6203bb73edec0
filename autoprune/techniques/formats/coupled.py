"""Which layers can compute with integers, and which of them have to do so together."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoprune.graph import Analysis, Extent, Op
from autoprune.graph.extent import Shape
from autoprune.graph.operators import WEIGHTED

__all__ = ["Coupled", "CoupledLayers", "coupled_layers", "enclosed"]


@dataclass(frozen=True)
class Coupled:
    """Layers whose outputs are added, or lie in one width: one decision.

    Attributes:
        name: Of the decision: the first layer's, with `.bits` behind it.
        group: The width that they write; empty where that is none.
        layers: Qualified names of modules, in forward order.
        nodes: Their graph nodes.
        reads: The decisions of the layers whose outputs they read; None among them for a tensor in float32, or one
            whose layers are not known.
    """

    name: str
    group: str
    layers: tuple[str, ...]
    nodes: tuple[str, ...]
    reads: frozenset[str | None] = frozenset()


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


def enclosed(integers: Collection[str], groups: Mapping[str, Coupled]) -> set[str]:
    """Decisions on float32 that come to integers: a layer alone that reads only integers, and is read by integers only.

    onnxruntime computes it with integers of its own making whatever the file says (`WeightBiasQuantization`), so it is
    one of those that round, and that the file has scales for.

    Args:
        integers: Decisions on integers.
        groups: All of the network.
    """
    readers: dict[str, set[str]] = {}
    for each in groups.values():
        for read in each.reads:
            readers.setdefault(read or "", set()).add(each.name)
    chosen = set(integers)
    return {
        name
        for name, each in groups.items()
        if name not in chosen and len(each.layers) == 1 and each.reads and each.reads <= chosen
        if readers.get(name) and readers[name] <= chosen
    }


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
    return CoupledLayers(_with_reads(groups, weighted), refused)


def _with_reads(groups: Mapping[str, Coupled], weighted: Sequence[Op]) -> dict[str, Coupled]:
    """The same groups, knowing what they read."""
    writers = {width: each.name for each in groups.values() for width in each.group.split()}
    known = {op.node: _names(op.inputs[0], op.kind) for op in weighted if op.inputs}
    found = {}
    for name, each in groups.items():
        read = {writers.get(width) for node in each.nodes for width in known.get(node) or ("",)}
        found[name] = replace(each, reads=frozenset(read - {name}))
    return found


def _width_of(op: Op) -> str:
    """The coupled groups that a layer's outputs lie in, as one name; empty for none."""
    return " ".join(_names(op.output, op.kind))


def _names(shape: Shape, kind: str) -> tuple[str, ...]:
    """The coupled groups of a tensor's channels."""
    size = shape[1] if kind != "linear" and len(shape) > 1 else shape[-1]
    return size.scope if isinstance(size, Extent) else ()


def _why_not(op: Op, calls: int) -> str | None:
    """Why a layer cannot compute with integers; None where it can."""
    if op.transposed:
        return "a transposed convolution has no integer kernel here"
    if op.weight_dims != (0, 1) or not op.tensors or op.tensors[0] != f"{op.name}.weight":
        return "it is no convolution or linear layer of its own, whose weight is a parameter"
    if not op.called:
        return "its weight is read by another module, which does not call it"
    return "it is called more than once" if calls > 1 else None
