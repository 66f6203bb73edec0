"""Rules of operators that join and take apart along a dimension: cat, stack, slice, split, pad."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.counts import Counted
from autoprune.graph.coupling.flow import Flow, Result, Unknown, repeat_first, shape_of, size_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.size_origins import Origin, origins
from autoprune.graph.trace.source_lines import where

__all__: list[str] = []

_NOT_FOLLOWED: tuple[Origin | None, ...] = (None, ("unknown",), ("computed",))


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
            _every(walk, node, atoms, begin, step, shape[axis])
        elif not _follow_bounds(walk, node, args, atoms, begin, begin + shape[axis]):
            _equal_parts(walk, node, atoms, begin, shape[axis])
        dims[axis] = atoms[begin : begin + shape[axis] * step : step]
    return Flow(shape, tuple(dims), x.tensor)


def _every(walk: Walk, node: Node, atoms: Atoms, begin: int, step: int, length: int) -> None:
    """Every second (third ...) position up to the end: pairs (triples ...) go, what is left over stays."""
    if begin >= step or length != len(range(begin, len(atoms), step)):
        walk.freeze(atoms, node, "cut at fixed places by")
        return
    paired = atoms[: len(atoms) // step * step]
    walk.table.tie(np.repeat(repeat_first(paired, step), step), paired)
    walk.freeze(atoms[len(paired) :], node, "left over by")


def _follow_bounds(walk: Walk, node: Node, args: Arguments, atoms: Atoms, begin: int, end: int) -> bool:
    """Whether the sizes that say where a part starts and ends (``self.width``) follow the cut; they count units then.

    A failed validation says no.
    """
    counted: Counted = []
    for origin, inside in _bounds(node, args, begin, end, len(atoms)):
        found = walk.counts.parts(origin, atoms[inside], atoms, np.delete(atoms, inside))
        if found is None:
            return False
        counted += found
    if walk.choose_interpretation(node, atoms):
        return False
    walk.counts.add_all(counted)
    return True


def _bounds(node: Node, args: Arguments, begin: int, end: int, size: int) -> Iterator[tuple[Origin | None, slice]]:
    """The origins of the numbers that say where a part starts and ends, with the places that they count."""
    if "length" in args:
        start, length = origins(node, [args["start"], args["length"]])
        yield length, slice(begin, end)
    else:
        start, stop = (origins(node, [args.get(name)])[0] for name in ("start", "end"))
        if end < size:
            yield stop, slice(end)
    if begin > 0:
        yield start, slice(begin)


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
    axis, atoms = int(args["dim"]) % len(x.shape), x.dims[int(args["dim"])]
    shapes = [tuple(map(size_of, piece.shape)) for piece in value]
    if atoms is None or len(shapes) == 1:
        return tuple(Flow(shape, x.dims, x.tensor) for shape in shapes)
    parts = np.split(atoms, np.cumsum([shape[axis] for shape in shapes])[:-1])
    given = args.get("split_size", args.get("split_sizes"))
    if isinstance(given, list | tuple):
        _split_by_list(walk, node, atoms, parts, origins(node, list(given)))
    else:
        _split_by_number(walk, node, atoms, parts, args)
    dims = (x.dims[:axis], x.dims[axis + 1 :])
    return tuple(Flow(shape, (*dims[0], part, *dims[1]), x.tensor) for shape, part in zip(shapes, parts, strict=True))


def _split_by_list(walk: Walk, node: Node, atoms: Atoms, parts: list[Atoms], known: list[Origin | None]) -> None:
    """Parts whose sizes are written one by one: equal ones shrink alike, unequal ones each as its size says."""
    places = np.cumsum([0, *map(len, parts)])
    if len({len(part) for part in parts}) == 1:
        _equal_parts(walk, node, atoms, 0, len(parts[0]))
        for origin, part in zip(known, parts, strict=True):
            walk.counts.add(origin, part)
        return
    for begin, origin, part in zip(places, known, parts, strict=False):
        rest = np.concatenate([atoms[:begin], atoms[begin + len(part) :]])
        counted = walk.counts.parts(origin, part, atoms, rest)
        walk.counts.add_all(counted or ())
        if counted is None:
            walk.freeze(part, node, "cut at fixed places by")


def _split_by_number(walk: Walk, node: Node, atoms: Atoms, parts: list[Atoms], args: Arguments) -> None:
    """As many parts as the code says, or of one size: the same number of units goes from each, what is more stays."""
    size = args.get("split_size")
    known = origins(node, [size])[0]
    least = min(map(len, parts))
    even = len({len(part) for part in parts}) == 1
    if size is not None and not even and known in _NOT_FOLLOWED:
        walk.freeze(atoms, node, "cut at fixed places by")
        return
    if size is None and not _alike(str(node.target), args, list(map(len, parts))):
        walk.freeze(atoms, node, "cut into other parts once it is narrower by")
        return
    for part in parts:
        if part is not parts[0]:
            walk.table.tie(parts[0][:least], part[:least])
        walk.freeze(part[least:], node, "left over by")
        if len(part) == size:
            walk.counts.add(known, part)


def _alike(name: str, args: Arguments, sizes: list[int]) -> bool:
    """Whether a width that loses as many units as there are parts is cut so that each part loses one."""
    count = int(args.get("chunks", args.get("sections", 0)) or 0)
    cut = _tensor_split if "tensor_split" in name else _chunk
    narrower = ([size - lost for size in sizes] for lost in range(min(sizes)))
    return count > 0 and all(cut(sum(left), count) == left for left in narrower)


def _chunk(width: int, count: int) -> list[int]:
    size = -(-width // count)
    return [min(size, width - begin) for begin in range(0, width, size)]


def _tensor_split(width: int, count: int) -> list[int]:
    return [width // count + (place < width % count) for place in range(count)]


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
