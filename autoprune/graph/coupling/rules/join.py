"""Rules of operators that join and take apart along a dimension: cat, stack, slice, split, pad."""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown, shape_of, size_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.size_origins import origins
from autoprune.graph.trace.source_lines import where

__all__: list[str] = []


@rule("cat", "concat", "concatenate")
def cat(walk: Walk, node: Node, args: Arguments) -> Result:
    """Widths one behind the other; all other dimensions are tied."""
    flows, shape = [walk.need(part) for part in args["tensors"]], shape_of(node)
    if shape is None or any(len(flow.shape) != len(shape) for flow in flows):
        raise Unknown
    axis = int(args["dim"]) % len(shape)
    dims: list[Atoms | None] = []
    for place in range(len(shape)):
        sides = [flow.dims[place] for flow in flows]
        if place == axis:
            dims.append(_joined(walk, node, flows, axis))
            continue
        found = sides[0]
        for side in sides[1:]:
            found = walk.tie(found, side, node)
        dims.append(found)
    walk.share(node, output := Flow(shape, tuple(dims)), flows)
    return walk.record(node, "other", flows, output)


def _joined(walk: Walk, node: Node, flows: list[Flow], axis: int) -> Atoms | None:
    parts = [flow.dims[axis] for flow in flows]
    if all(part is None for part in parts):
        return None
    reason = f"joined as a fixed width by {where(node)}"
    sized = zip(parts, flows, strict=True)
    return np.concatenate([walk.table.constant(f.shape[axis], reason) if p is None else p for p, f in sized])


@rule("stack")
def stack(walk: Walk, node: Node, args: Arguments) -> Result:
    """A new dimension of fixed size; the others are tied."""
    flows, shape = [walk.need(part) for part in args["tensors"]], shape_of(node)
    if shape is None:
        raise Unknown
    dims = list(flows[0].dims)
    for flow in flows[1:]:
        dims = [walk.tie(one, other, node) for one, other in zip(dims, flow.dims, strict=True)]
    walk.share(node, Flow(flows[0].shape, tuple(dims)), flows)
    dims.insert(int(args["dim"]) % len(shape), None)
    return walk.record(node, "other", flows, Flow(shape, tuple(dims)))


@rule("slice", "narrow")
def slice_(walk: Walk, node: Node, args: Arguments) -> Result:
    """A part of one dimension."""
    x, shape = walk.need(args["self"]), shape_of(node)
    if shape is None:
        raise Unknown
    axis = int(args["dim"]) % len(shape)
    start, size, step = args.get("start") or 0, x.shape[axis], int(args.get("step", 1))
    if not isinstance(start, int):
        raise Unknown
    begin = min(max(start + size if start < 0 else start, 0), size)
    dims = list(x.dims)
    atoms = dims[axis]
    if atoms is not None and shape[axis] != size:
        if step != 1:
            walk.freeze(atoms, node, "cut at fixed places by")
        _equal_parts(walk, node, atoms, begin, shape[axis])
        dims[axis] = atoms[begin : begin + shape[axis] * step : step]
    return Flow(shape, tuple(dims), x.tensor)


def _equal_parts(walk: Walk, node: Node, atoms: Atoms, begin: int, length: int) -> None:
    """Parts stay parts only if all shrink alike: tie the equal parts of a width, else keep it whole."""
    if length == 0 or len(atoms) % length or begin % length:
        walk.freeze(atoms, node, "cut at fixed places by")
    else:
        walk.table.tie(np.tile(atoms[:length], len(atoms) // length), atoms)


@rule("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
def split(walk: Walk, node: Node, args: Arguments) -> Result:
    """Consecutive parts of one dimension."""
    x, value = walk.need(args["self"]), node.meta.get("val")
    if not isinstance(value, list | tuple):
        raise Unknown
    axis = int(args["dim"]) % len(x.shape)
    parts, begin = [], 0
    atoms = x.dims[axis]
    given = args.get("split_size", args.get("split_sizes"))
    sizes = list(given) if isinstance(given, list | tuple) else [given]
    known = origins(node, sizes)
    for place, piece in enumerate(value):
        shape = tuple(map(size_of, piece.shape))
        dims = list(x.dims)
        if atoms is not None and shape[axis] != x.shape[axis]:
            _equal_parts(walk, node, atoms, begin, shape[axis])
            dims[axis] = atoms[begin : begin + shape[axis]]
            walk.counts.add(known[place % len(known)], dims[axis])
        parts.append(Flow(shape, tuple(dims), x.tensor))
        begin += shape[axis]
    return tuple(parts)


@rule("unbind")
def unbind(walk: Walk, node: Node, args: Arguments) -> Result:
    """The slices of one dimension, which must stay whole."""
    x, value = walk.need(args["self"]), node.meta.get("val")
    if not isinstance(value, list | tuple):
        raise Unknown
    axis = int(args["dim"]) % len(x.shape)
    walk.freeze(x.dims[axis], node)
    rest = Flow(x.shape[:axis] + x.shape[axis + 1 :], x.dims[:axis] + x.dims[axis + 1 :], x.tensor)
    return (rest,) * len(value)


@rule("select")
def select(walk: Walk, node: Node, args: Arguments) -> Result:
    """One place of a dimension, which must stay whole."""
    x = walk.need(args["self"])
    axis = int(args["dim"]) % len(x.shape)
    walk.freeze(x.dims[axis], node, "cut at fixed places by")
    return Flow(x.shape[:axis] + x.shape[axis + 1 :], x.dims[:axis] + x.dims[axis + 1 :], x.tensor)


@rule("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d")
def pad(walk: Walk, node: Node, args: Arguments) -> Result:
    """Positions put before and behind: as many as the code says, or as another width's shape asks for."""
    x, shape = walk.need(args.get("self", args.get("input"))), shape_of(node)
    amounts = args.get("pad", args.get("padding"))
    if shape is None or not isinstance(amounts, list | tuple):
        raise Unknown
    dims = list(x.dims)
    for place in range(len(amounts) // 2):
        axis = len(shape) - 1 - place
        atoms, before, after = dims[axis], int(amounts[2 * place]), int(amounts[2 * place + 1])
        if atoms is None or before == after == 0:
            continue
        if before < 0 or after < 0 or args.get("mode", "constant") != "constant" or x.tensor is not None:
            walk.freeze(atoms, node)
            dims[axis] = None
            continue
        ends = _ends(walk, node, before, after)
        dims[axis] = np.concatenate([ends[0], atoms, ends[1]])
    return walk.record(node, "other", [x], Flow(shape, tuple(dims)))


def _ends(walk: Walk, node: Node, before: int, after: int) -> tuple[Atoms, Atoms]:
    """The padded positions: one side alone, or equal sides in pairs, may follow a shape; a failed proof says no."""
    ends = walk.table.fresh(before), walk.table.fresh(after)
    both = np.concatenate(ends)
    if (before and after and before != after) or walk.choose_interpretation(node, both):
        walk.table.freeze(both, f"padded to a fixed width by {where(node)}")
    elif before == after:
        walk.table.tie(*ends)
    return ends


_MADE = "zeros ones full empty rand randn new_zeros new_ones new_full new_empty arange eye empty_permuted"


@rule(*_MADE.split())
def made_in_forward(walk: Walk, node: Node, args: Arguments) -> Result:
    """A tensor that the forward makes by itself."""
    shape = shape_of(node)
    if shape is None:
        raise Unknown
    known = origins(node, shape)
    sized = zip(shape, known, strict=True)
    return Flow(shape, tuple(walk.elastic(node, size, origin) if size > 1 else None for size, origin in sized))
