"""Which tensors of a network are weights that can have zeros, and how they lie in memory."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoprune.graph import Analysis, Op
from autoprune.graph.operators import WEIGHTED
from autoprune.masks.base import PlanesShape
from autoprune.masks.planes import Planes

__all__ = ["SparseWeights", "Weight", "weights_of"]


@dataclass(frozen=True)
class Weight:
    """The weight of a linear layer or convolution, or of several that share it.

    Attributes:
        name: Qualified name of the parameter.
        layer: The layer that reads it first.
        planes: Which of its dimensions are outputs and inputs.
        sizes: Its dense shape.
        nodes: The operators that read it, as the analysis names them.
    """

    name: str
    layer: str
    planes: Planes
    sizes: tuple[int, ...]
    nodes: tuple[str, ...]

    @property
    def shape(self) -> PlanesShape:
        """(kernel positions, outputs, inputs)."""
        return self.planes.shape(self.sizes)


@dataclass(frozen=True)
class SparseWeights:
    """The weights of a network that can have zeros.

    Attributes:
        weights: By name, in forward order; a shared one once.
        refused: Name of a parameter of two dimensions or more -> why it is none of them.
    """

    weights: Mapping[str, Weight]
    refused: Mapping[str, str] = field(default_factory=dict)


_KNOWN: weakref.WeakKeyDictionary[Analysis, SparseWeights] = weakref.WeakKeyDictionary()


def weights_of(analysis: Analysis) -> SparseWeights:
    """The weights that can have zeros: those that a linear layer or convolution reads as they are, and nothing else.

    An analysis is asked once and remembered while it lives: a search asks for every candidate.
    """
    known = _KNOWN.get(analysis)
    if known is None:
        known = _KNOWN[analysis] = _weights_in(analysis)
    return known


def _weights_in(analysis: Analysis) -> SparseWeights:
    found, refused = {}, {}
    for name, shape in analysis.parameters.items():
        sizes = tuple(size if isinstance(size, int) else size.dense for size in shape)
        readers = [op for op in analysis.ops if name in op.tensors]
        if len(sizes) < 2:
            continue
        reason = _why_not(name, readers)
        if reason is not None:
            refused[name] = reason
            continue
        outputs, inputs = readers[0].weight_dims or (0, 1)
        nodes = tuple(op.node for op in readers)
        found[name] = Weight(name, readers[0].name, Planes(inputs, outputs), sizes, nodes)
    order = {op.node: number for number, op in enumerate(analysis.ops)}
    ordered = sorted(found.values(), key=lambda weight: order[weight.nodes[0]])
    return SparseWeights({weight.name: weight for weight in ordered}, refused)


def _why_not(name: str, readers: list[Op]) -> str | None:
    """Why a parameter must stay dense; None if it need not."""
    if not readers:
        return "no operator that is understood reads it as it is"
    other = next((op for op in readers if op.kind not in WEIGHTED), None)
    if other is not None:
        return f"{other.operator.split('.')[1]} reads it, which is no linear layer and no convolution"
    if any(op.weight_dims is None or op.tensors[0] != name for op in readers):
        return "the weight is computed from it, so its zeros need not be zeros of the weight"
    if len({op.weight_dims for op in readers}) > 1:
        return "it is read both ways round, so its inputs here are its outputs there"
    if any(op.transposed and op.groups != 1 for op in readers):
        return "it is of a transposed convolution with groups, whose inputs lie in its rows by group"
    return None
