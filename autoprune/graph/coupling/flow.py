"""A tensor of the traced graph as the walk sees it: sizes, and the atoms of its positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms

__all__ = [
    "Flow",
    "Norm",
    "OpRecord",
    "Result",
    "Slot",
    "Statistic",
    "Unknown",
    "fixed",
    "for_each_result",
    "holder",
    "repeat_first",
    "shape_of",
    "size_of",
]


@dataclass(frozen=True, eq=False)
class Norm:
    """An operator whose figures are taken over a width that may shrink: once cut, over the units that are kept.

    Attributes:
        node: The operator.
        axis: The dimension of its input that it reduces, counted from the end (-1 is the last).
        atoms: The atoms of that dimension.
        params: Names of the operator's arguments that shrink with it -> their dimension, counted from the end.
        sizes: Name of the argument that lists the sizes normalised over, counted from the end like ``axis``.
        keeps: Whether the output has the dimension too (LayerNorm), or only the figure (a mean).
        weight: Whether it normalises a weight before a layer reads with it (weight standardisation).
    """

    node: Node
    axis: int
    atoms: Atoms
    params: tuple[tuple[str, int], ...] = ()
    sizes: str | None = None
    keeps: bool = True
    weight: bool = False


@dataclass(frozen=True, eq=False)
class Statistic:
    """A dimension of size 1 that holds a figure over a width: fine as long as it only scales that same width."""

    node: Node
    axis: int  # from the end
    atoms: Atoms


@dataclass(frozen=True, eq=False)
class Flow:
    """A tensor of the traced graph.

    Attributes:
        shape: Its sizes at the traced batch.
        dims: Per dimension, the atom of each position, or None where positions are fixed.
        tensor: Name of the parameter or buffer that it is, or is a view of; None for activations.
        over: Figures over a width that it holds.
    """

    shape: tuple[int, ...]
    dims: tuple[Atoms | None, ...]
    tensor: str | None = None
    over: tuple[Statistic, ...] = ()

    def atoms(self) -> Iterable[Atoms]:
        """The atoms of the dimensions that have some."""
        return (dim for dim in self.dims if dim is not None)

    def keeps(self, dims: Iterable[Atoms | None], shape: tuple[int, ...] | None = None) -> Flow:
        """An activation with other dimensions."""
        return Flow(self.shape if shape is None else shape, tuple(dims), self.tensor, self.over)


@dataclass(frozen=True)
class Slot:
    """One dimension of a parameter or buffer, with its atoms."""

    tensor: str
    dim: int
    atoms: Atoms


@dataclass(frozen=True, eq=False)
class OpRecord:
    """An operator that costs something, with the flows it read and made."""

    node: Node
    name: str
    kind: str
    inputs: tuple[Flow, ...]
    output: Flow
    params: tuple[Flow, ...]
    settings: Mapping[str, Any]


Result = Flow | tuple[Flow, ...] | None


class Unknown(Exception):
    """A rule does not understand this use of its operator: treat it as unknown."""


def shape_of(node: Node) -> tuple[int, ...] | None:
    """Sizes of a node's (first) tensor result; None where it has none."""
    value = node.meta.get("val")
    shape = getattr(value[0] if isinstance(value, list | tuple) and value else value, "shape", None)
    return None if shape is None else tuple(map(size_of, shape))


def size_of(size: Any) -> int:
    """One size as a number; 0 where it depends on values (``nonzero``)."""
    if isinstance(size, int):
        return size
    return int(size.node.maybe_as_int() or 0)


def fixed(node: Node) -> Result:
    """The result of an operator as tensors of fixed size."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        shapes = [getattr(part, "shape", None) for part in value]
        return tuple(Flow(tuple(map(size_of, s or ())), (None,) * len(s or ())) for s in shapes)
    shape = shape_of(node)
    return None if shape is None else Flow(shape, (None,) * len(shape))


def for_each_result(node: Node, output: Flow) -> Result:
    """The results of an operator whose results, be they one or several, all have one shape."""
    value = node.meta.get("val")
    return (output,) * len(value) if isinstance(value, list | tuple) else output


def repeat_first(atoms: Atoms, size: int) -> Atoms:
    """The atoms of the first of every ``size`` neighbours."""
    return np.ascontiguousarray(atoms[::size])


def holder(tensor: str) -> str:
    """Qualified name of the module that a parameter or buffer belongs to; a parametrised one's user."""
    return tensor.rpartition(".")[0].partition(".parametrizations.")[0]
