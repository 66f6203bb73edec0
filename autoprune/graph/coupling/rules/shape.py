"""Rules of operators that only rearrange: views, permutations, added and dropped dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown, shape_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.size_origins import Origin, origins

__all__: list[str] = []

Dims = list[Atoms | None]
Size = tuple[int, Origin | None]  # as written, and where it comes from
_UNKNOWN: Origin = ("unknown",)


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as", "squeeze", "unsqueeze")
def view(walk: Walk, node: Node, args: Arguments) -> Result:
    """The same elements in the same order under other sizes."""
    x, shape = walk.need(args["self"]), shape_of(node)
    if shape is None:
        raise Unknown
    dims: Dims = [None] * len(shape)
    sizes = _written(node, args, len(shape))
    for sources, targets in _segments(x.shape, shape):
        found = _regroup(walk, node, x, sources, [shape[t] for t in targets], [sizes[t] for t in targets])
        for target, atoms in zip(targets, found, strict=True):
            dims[target] = atoms
            walk.counts.add(sizes[target][1], atoms)
    return Flow(shape, tuple(dims), x.tensor)


def _written(node: Node, args: Arguments, rank: int) -> list[Size]:
    """Each of the result's sizes as the user wrote it, with its origin; 0 where nothing is written."""
    values = args.get("size", args.get("shape", args.get("sizes")))
    if not isinstance(values, list | tuple) or not all(isinstance(value, int) for value in values):
        return [(0, _UNKNOWN)] * rank
    sizes: list[Size] = list(zip(values, origins(node, values), strict=True))
    if "unflatten" in str(node.target):
        axis = int(args["dim"])
        before = axis if axis >= 0 else axis + rank - len(values) + 1
        return [(0, _UNKNOWN)] * before + sizes + [(0, _UNKNOWN)] * (rank - before - len(values))
    return sizes if len(sizes) == rank else [(0, _UNKNOWN)] * rank


def _segments(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Smallest runs of dimensions (sizes of 1 left out) that hold the same elements on both sides."""
    left = [axis for axis, size in enumerate(before) if size != 1]
    right = [axis for axis, size in enumerate(after) if size != 1]
    while left or right:
        sources, targets = left[:1], right[:1]
        left, right = left[1:], right[1:]
        while (a := math.prod(before[s] for s in sources)) != (b := math.prod(after[t] for t in targets)):
            if a < b and left:
                sources.append(left.pop(0))
            elif b < a and right:
                targets.append(right.pop(0))
            else:
                raise Unknown
        yield sources, targets


def _regroup(
    walk: Walk, node: Node, x: Flow, sources: list[int], sizes: list[int], written: list[Size]
) -> Sequence[Atoms | None]:
    """Merge the source dimensions of one segment and split them into ``sizes``."""
    tracked = [axis for axis in sources if x.dims[axis] is not None]
    if not tracked:
        return [None] * len(sizes)
    if len(sources) == 1 and len(sizes) == 1:
        return [x.dims[sources[0]]]
    axis = tracked[0]
    for other in tracked[1:]:  # the size of a product of two widths can follow one of them only
        walk.freeze(x.dims[other], node, "merged with another width by")
    atoms = x.dims[axis]
    if atoms is None:
        raise Unknown
    spread = atoms.reshape([-1 if source == axis else 1 for source in sources])
    merged = np.broadcast_to(spread, [x.shape[source] for source in sources]).reshape(-1)
    return [merged] if len(sizes) == 1 else _split(walk, node, merged.reshape(sizes), written)


def _split(walk: Walk, node: Node, grid: Atoms, written: list[Size]) -> Dims:
    """One width becomes several dimensions: exactly one of them can go on shrinking.

    Which one is plain where the atoms vary along one dimension only. Else it is a guess that validation confirms or
    flips: what is written as -1, before what comes out of an attribute or a shape, before bare numbers; among equals
    the last for images (channel shuffle: groups stay), the first where the split ends the shape (heads x head size:
    heads go).
    """
    varying = [axis for axis in range(grid.ndim) if not (grid == grid.take([0], axis)).all()]
    if len(varying) == 1:
        keep = varying[0]
    else:
        shape = shape_of(node) or ()
        ends = len(shape) > 0 and grid.shape[-1] == shape[-1]
        free = int(not ends)  # heads are heads, be they written as -1 or not
        rank = {
            a: 1 - free if v == -1 else 1 if origin not in (None, _UNKNOWN) else 2
            for a, (v, origin) in enumerate(written)
        }
        if ends and grid.shape[0] == 3 and rank[0] == 2:
            rank[0] = 3  # queries, keys and values in one
        choices = sorted(varying, key=lambda axis: (rank[axis], axis if ends else -axis))
        followed = [axis for axis in choices if rank[axis] < 2] or choices
        keep = followed[walk.choose_interpretation(node, grid.reshape(-1), len(followed))]
    line = np.moveaxis(grid, keep, 0).reshape(grid.shape[keep], -1)
    if line.shape[1] > 1:
        walk.table.tie(np.repeat(line[:, 0], line.shape[1]), line.reshape(-1))
    return [np.ascontiguousarray(line[:, 0]) if axis == keep else None for axis in range(grid.ndim)]


@rule("permute", "transpose", "t", "movedim", "swapaxes", "numpy_T", "adjoint", "mT")
def permute(walk: Walk, node: Node, args: Arguments) -> Result:
    """Dimensions in another order."""
    x, rank = walk.need(args["self"]), len(walk.need(args["self"]).shape)
    order = _order(str(node.target), args, rank)
    return Flow(tuple(x.shape[a] for a in order), tuple(x.dims[a] for a in order), x.tensor)


def _order(name: str, args: Arguments, rank: int) -> list[int]:
    if "permute" in name:
        return [int(axis) % rank for axis in args["dims"]]
    order = list(range(rank))
    if "movedim" in name:
        source, target = args["source"], args["destination"]
        if not isinstance(source, int) or not isinstance(target, int):
            raise Unknown
        order.insert(target % rank, order.pop(source % rank))
        return order
    if "numpy_T" in name or rank < 2:
        return order[::-1]
    pair: tuple[Any, Any] = (args.get("dim0", args.get("axis0", -2)), args.get("dim1", args.get("axis1", -1)))
    one, other = (int(axis) % rank for axis in pair)
    order[one], order[other] = order[other], order[one]
    return order


@rule("expand", "expand_as", "broadcast_to", figures=True)
def expand(walk: Walk, node: Node, args: Arguments) -> Result:
    """Dimensions of size 1 are repeated to some size, figures over a width to that width; the others pass."""
    x, shape = walk.need(args["self"]), shape_of(node)
    if shape is None:
        raise Unknown
    dims = [*(None,) * (len(shape) - len(x.shape)), *x.dims]
    left = []
    for figure in x.over:
        if shape[figure.axis] == len(figure.atoms):
            dims[figure.axis] = figure.atoms
        elif shape[figure.axis] == 1:
            left.append(figure)
        else:
            walk.leak([x])
    written = args.get("size")
    known = origins(node, written) if isinstance(written, list | tuple) else origins(node, shape)
    for axis in range(len(shape)):
        back = axis - len(shape)
        if axis == 0 and known[0] in (None, _UNKNOWN):
            continue  # the batch
        if dims[axis] is None and shape[axis] > 1 and (len(x.shape) < -back or x.shape[back] == 1):
            dims[axis] = walk.elastic(node, shape[axis], known[axis], repeats=axis > 0)
    return Flow(shape, tuple(dims), x.tensor, tuple(left))
