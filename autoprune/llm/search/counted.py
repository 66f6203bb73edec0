"""What sizes of a language model cost in parameters and bytes: exact, by which dimension of which tensor shrinks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.llm.search.budget import NM
from autoprune.llm.search.levers import BLOCKS, FFN, HEADS, HIDDEN, QUERIES, Levers, part_of

__all__ = ["Tensors", "bytes_cost", "nonzeros_cost", "parameters_by_scope", "params_cost"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Shrinking:
    """How a stretch of a dimension shrinks.

    Attributes:
        dim: The dimension.
        names: Decisions whose kept units are multiplied.
        each: Positions for each of these products.
        dense: The product of the dense network.
    """

    dim: int
    names: tuple[str, ...]
    each: int
    dense: int

    def lost(self, kept: dict[str, Array]) -> Array:
        """Positions that are gone, (policies,)."""
        product = np.ones(1)
        for name in self.names:
            product = product * kept[name]
        return self.each * (self.dense - product)


@dataclass(frozen=True)
class _Groups:
    """N:M zeros along a dimension.

    Attributes:
        dim: That of the inputs.
        name: The decision.
        m: Neighbours in a group.
    """

    dim: int
    name: str
    m: int

    def left(self, positions: Array, kept: dict[str, Array]) -> Array:
        """Positions that may be other than zero, (policies,): `NofM.kept` of a row."""
        rest: Array = np.minimum(positions % self.m, kept[self.name])
        return positions // self.m * kept[self.name] + rest


@dataclass(frozen=True)
class _Tensor:
    """A parameter: its dense shape, what shrinks in it, its block (None outside of all), and its zeros if counted."""

    shape: tuple[int, ...]
    shrinking: tuple[_Shrinking, ...]
    block: int | None
    bytes_each: int
    groups: _Groups | None = None

    @property
    def scope(self) -> tuple[str, ...]:
        """The decisions that its size depends on."""
        names = {name for each in self.shrinking for name in each.names} | (
            {BLOCKS} if self.block is not None else set()
        )
        names |= {self.groups.name} if self.groups is not None else set()
        parts = (BLOCKS, FFN, HIDDEN, HEADS, QUERIES, NM)
        return tuple(sorted(names, key=lambda name: parts.index(part_of(name))))


@dataclass(frozen=True)
class Tensors:
    """The size of the tensors of one scope, as the price of a cost.

    Attributes:
        scope: Decisions, in the order of the widths' columns.
        tensors: Those whose size depends on just these.
        stays: Block -> fewest blocks that must stay for it to be among them.
        in_bytes: Whether bytes are counted, else numbers.
        factor: What a number costs.
    """

    scope: tuple[str, ...]
    tensors: tuple[_Tensor, ...]
    stays: tuple[int, ...]
    in_bytes: bool = False
    factor: float = 1.0

    def __call__(self, widths: NDArray[np.int64]) -> Array:
        """Costs of kept units, int64 (policies, decisions of the scope), (policies,)."""
        kept = {name: widths[:, place].astype(np.float64) for place, name in enumerate(self.scope)}
        total = np.zeros(len(widths))
        for tensor in self.tensors:
            size = np.ones(len(widths))
            for dim, dense in enumerate(tensor.shape):
                left = dense - sum((each.lost(kept) for each in tensor.shrinking if each.dim == dim), np.zeros(1))
                groups = tensor.groups if tensor.groups is not None and tensor.groups.dim == dim else None
                size = size * (left if groups is None else groups.left(left, kept))
            if tensor.block is not None and BLOCKS in kept:
                size = size * (kept[BLOCKS] >= self.stays[tensor.block])
            total += size * (tensor.bytes_each if self.in_bytes else 1)
        return total * self.factor


def parameters_by_scope(levers: Levers, *, nonzeros: bool = False) -> list[Tensors]:
    """The parameters of a model by the decisions that their number depends on.

    Args:
        levers: What can be changed.
        nonzeros: Whether those that a pattern makes zero are left out.
    """
    by_scope: dict[tuple[str, ...], list[_Tensor]] = defaultdict(list)
    known = set(levers.space.names)
    for tensor in _tensors(levers, nonzeros=nonzeros):
        by_scope[tuple(name for name in tensor.scope if name in known)].append(tensor)
    stays = _stays(levers)
    return [Tensors(scope, tuple(tensors), stays) for scope, tensors in sorted(by_scope.items())]


def params_cost(levers: Levers) -> AdditiveCost:
    """Parameters; tied ones count once."""
    parts = parameters_by_scope(levers)
    return AdditiveCost("params", "parameters", levers.space, [_entry(part) for part in parts])


def nonzeros_cost(levers: Levers) -> AdditiveCost:
    """Parameters that may be other than zero: all but those that N:M leaves out."""
    parts = parameters_by_scope(levers, nonzeros=True)
    return AdditiveCost("nonzeros", "parameters", levers.space, [_entry(part) for part in parts])


def bytes_cost(levers: Levers, overhead: float = 0.0) -> AdditiveCost:
    """Bytes of all parameters as they are stored, and what a file takes beside them.

    Args:
        levers: What can be changed.
        overhead: Of the file, in bytes: names and shapes.
    """
    parts = parameters_by_scope(levers)
    entries = [_entry(Tensors(part.scope, part.tensors, part.stays, in_bytes=True)) for part in parts]
    entries.append(CostEntry("file header", (), lambda widths: np.full(len(widths), overhead)))
    return AdditiveCost("bytes", "bytes", levers.space, entries)


def _entry(part: Tensors) -> CostEntry:
    return CostEntry(" x ".join(part.scope) or "fixed", part.scope, part)


def _stays(levers: Levers) -> tuple[int, ...]:
    """For each block how many must stay for it to be among them; 0 for one that always is."""
    total, place = len(levers.stack), {block: number for number, block in enumerate(levers.order)}
    return tuple(total - place[block] if block in place else 0 for block in range(total))


def _tensors(levers: Levers, *, nonzeros: bool) -> list[_Tensor]:
    """Every parameter of the dense network."""
    everyone = dict(levers.network.named_parameters(remove_duplicate=False))
    shrinking: dict[int, dict[tuple[int, str, int], _Shrinking]] = defaultdict(dict)
    for name, groups in levers.groups.items():
        if name not in levers.space.names and not (name == HEADS and QUERIES in levers.space.names):
            continue
        for group in groups:
            for member in group.members:
                tensor = everyone.get(member.tensor)
                if tensor is not None:
                    key = (member.dim, name, int(member.positions[0, 0]))
                    shrinking[id(tensor)][key] = _shrinking(levers, name, member.dim, member.positions.shape[1])
    zeros = _zeros(levers) if nonzeros else {}
    return [
        _Tensor(
            tuple(p.shape), tuple(shrinking[id(p)].values()), _block(levers, name), p.element_size(), zeros.get(name)
        )
        for name, p in levers.network.named_parameters()
    ]


def _zeros(levers: Levers) -> dict[str, _Groups]:
    """Weight -> how its zeros are decided."""
    if levers.zeros is None:
        return {}
    return {
        name: _Groups(matrix.planes.inputs, f"{NM}.{number}", levers.zeros.plan.m)
        for number, matrices in enumerate(levers.zeros.blocks)
        for name, matrix in matrices.items()
        if f"{NM}.{number}" in levers.space.names
    }


def _shrinking(levers: Levers, name: str, dim: int, each: int) -> _Shrinking:
    """How a stretch shrinks; one that holds the query heads of a group also where fewer of these stay."""
    width, shape = levers.groups[name][0].width, levers.shape
    if name != HEADS or shape is None:
        return _Shrinking(dim, (name,), each, width)
    names: list[str] = [HEADS] if HEADS in levers.space.names else []
    fixed = 1 if names else width
    if QUERIES in levers.space.names and each == shape.queries * shape.size:
        names.append(QUERIES)
        return _Shrinking(dim, tuple(names), shape.size * fixed, shape.queries * width // fixed)
    return _Shrinking(dim, tuple(names), each * fixed, width // fixed)


def _block(levers: Levers, name: str) -> int | None:
    path = f"{levers.stack.path}."
    return int(name.removeprefix(path).partition(".")[0]) if name.startswith(path) else None
