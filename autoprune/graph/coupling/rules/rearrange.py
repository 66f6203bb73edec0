"""Rules of operators that move channels about: pixel and channel shuffles, windows, copies, flips, GLU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown, repeat_first, shape_of, size_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.rules.pointwise import elementwise
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.size_origins import origins
from autoprune.graph.trace.source_lines import where

__all__: list[str] = []


def _merged(walk: Walk, atoms: Atoms | None, size: int) -> Atoms | None:
    """Every ``size`` neighbours become one unit."""
    if atoms is None:
        return None
    units = repeat_first(atoms, size)
    walk.table.tie(np.repeat(units, size), atoms)
    return units


def _still(walk: Walk, node: Node, x: Flow, places: slice) -> None:
    """Dimensions that are taken apart here: nothing can go from them."""
    for atoms in x.dims[places]:
        walk.freeze(atoms, node)


def _image(walk: Walk, node: Node, x: Flow, channels: Atoms | None) -> Flow:
    """The result with these channels, all behind them being fixed."""
    shape = shape_of(node)
    if shape is None or len(x.shape) < 3:
        raise Unknown
    _still(walk, node, x, slice(2, None))
    return walk.record(node, "other", [x], Flow(shape, (x.dims[0], channels, *(None,) * (len(shape) - 2))))


@rule("pixel_shuffle")
def pixel_shuffle(walk: Walk, node: Node, args: Arguments) -> Result:
    """(C r r, H, W) to (C, H r, W r): r r neighbours make one channel."""
    x, factor = walk.need(args["self"]), int(args["upscale_factor"])
    if len(x.shape) != 4:
        raise Unknown
    return _image(walk, node, x, _merged(walk, x.dims[1], factor**2))


@rule("pixel_unshuffle")
def pixel_unshuffle(walk: Walk, node: Node, args: Arguments) -> Result:
    """(C, H r, W r) to (C r r, H, W): each channel gives r r neighbours."""
    x, factor = walk.need(args["self"]), int(args["downscale_factor"])
    if len(x.shape) != 4:
        raise Unknown
    return _image(walk, node, x, None if x.dims[1] is None else np.repeat(x.dims[1], factor**2))


@rule("im2col")
def im2col(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each channel gives the places of its window, next to each other."""
    x, window = walk.need(args["self"]), math.prod(args["kernel_size"])
    if len(x.shape) != 4:
        raise Unknown
    return _image(walk, node, x, None if x.dims[1] is None else np.repeat(x.dims[1], window))


@rule("col2im")
def col2im(walk: Walk, node: Node, args: Arguments) -> Result:
    """The places of a window make one channel."""
    x, window = walk.need(args["self"]), math.prod(args["kernel_size"])
    if len(x.shape) != 3:
        raise Unknown
    return _image(walk, node, x, _merged(walk, x.dims[1], window))


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(walk: Walk, node: Node, args: Arguments) -> Result:
    """Channel j of group i goes to place (j, i): the number of groups stays, so the same j of every group goes."""
    x, groups = walk.need(args["self"]), int(args["groups"])
    atoms, size = x.dims[1], x.shape[1] // groups
    if atoms is None:
        return _image(walk, node, x, None)
    walk.table.tie(np.tile(atoms[:size], groups), atoms)
    return _image(walk, node, x, np.ascontiguousarray(atoms.reshape(groups, size).T).reshape(-1))


@rule("glu")
def glu(walk: Walk, node: Node, args: Arguments) -> Result:
    """The first half, gated by the second."""
    x, shape = walk.need(args["self"]), shape_of(node)
    if shape is None:
        raise Unknown
    axis, dims = int(args["dim"]) % len(shape), list(x.dims)
    if (atoms := dims[axis]) is not None:
        dims[axis] = atoms[: shape[axis]]
        walk.table.tie(atoms[: shape[axis]], atoms[shape[axis] :])
    return walk.record(node, "relu", [x], Flow(shape, tuple(dims)))


@rule("repeat", "tile")
def repeat(walk: Walk, node: Node, args: Arguments) -> Result:
    """Whole copies, one behind the other; as many of a single one as channels (a fixed kernel) may follow a width."""
    x, shape = walk.need(args["self"]), shape_of(node)
    counts: Sequence[int] = args["repeats" if "repeats" in args else "dims"]
    if shape is None:
        raise Unknown
    sizes = (1,) * (len(shape) - len(x.shape)) + x.shape
    given = (None,) * (len(shape) - len(x.shape)) + x.dims
    dims = [
        None if atoms is None else np.tile(atoms, count // size)
        for atoms, size, count in zip(given, sizes, shape, strict=True)
    ]
    if sizes[0] == 1 < shape[0] and len(counts) == len(shape):
        dims[0] = walk.elastic(node, shape[0], origins(node, counts)[0])
    return walk.record(node, "other", [x], Flow(shape, tuple(dims)))


@rule("repeat_interleave")
def repeat_interleave(walk: Walk, node: Node, args: Arguments) -> Result:
    """Copies of each place next to each other."""
    x, shape = walk.need(args["self"]), shape_of(node)
    if shape is None or not isinstance(args.get("repeats"), int) or args.get("dim") is None:
        raise Unknown
    axis, dims = int(args["dim"]) % len(shape), list(x.dims)
    if (atoms := dims[axis]) is not None:
        dims[axis] = np.repeat(atoms, int(args["repeats"]))
    return walk.record(node, "other", [x], Flow(shape, tuple(dims)))


@rule("flip", "fliplr", "flipud")
def flip(walk: Walk, node: Node, args: Arguments) -> Result:
    """The order turned round."""
    x = walk.need(args["self"])
    if "dims" not in args:
        raise Unknown
    turned = {int(axis) % len(x.shape) for axis in args["dims"]}
    dims = [atoms if atoms is None or i not in turned else atoms[::-1].copy() for i, atoms in enumerate(x.dims)]
    return walk.record(node, "other", [x], Flow(x.shape, tuple(dims)))


@rule("roll")
def roll(walk: Walk, node: Node, args: Arguments) -> Result:
    """The order turned by a fixed number of places: of a width, other units would come round."""
    x = walk.need(args["self"])
    if not args["dims"]:
        raise Unknown
    for axis in args["dims"]:
        walk.freeze(x.dims[axis], node, "rolled by")
    return walk.record(node, "other", [x], Flow(x.shape, x.dims))


@rule("unfold")
def unfold(walk: Walk, node: Node, args: Arguments) -> Result:
    """Windows of one dimension, as a new last one."""
    x, shape = walk.need(args["self"]), shape_of(node)
    if shape is None:
        raise Unknown
    axis, dims = int(args["dimension"]) % len(x.shape), list(x.dims)
    walk.freeze(dims[axis], node)
    dims[axis] = None
    return Flow(shape, (*dims, None), x.tensor)


@rule("index", "index_select", "gather", "take_along_dim")
def pick(walk: Walk, node: Node, args: Arguments) -> Result:
    """Places picked by number: the numbers would mean others once the width is cut, so it stays; the rest pass."""
    x, shape = walk.need(args["self"]), shape_of(node)
    axes = _picked_from(args)
    if shape is None or axes != list(range(axes[0], axes[0] + len(axes))):
        raise Unknown
    for axis in axes:
        _freeze(walk, x.dims[axis], f"picked by number in {where(node)}")
    grown = len(shape) - len(x.shape) + len(axes)
    dims = (*x.dims[: axes[0]], *(None,) * grown, *x.dims[axes[-1] + 1 :])
    params = [x] if x.tensor is not None else []
    return walk.record(node, "other", [x] if x.tensor is None else [], Flow(shape, dims), params)


def _picked_from(args: Arguments) -> list[int]:
    """The dimensions that numbers pick from; masks pick from several at once and are not understood."""
    parts = args.get("indices")
    if not isinstance(parts, list | tuple):  # one tensor of numbers, along one dimension
        if args.get("dim") is None:
            raise Unknown
        return [int(args["dim"]) % len(args["self"].meta["val"].shape)]
    found = [axis for axis, part in enumerate(parts) if part is not None]
    if not found or any(parts[axis].meta["val"].dtype in (torch.bool, torch.uint8) for axis in found):
        raise Unknown
    return found


def _freeze(walk: Walk, atoms: Atoms | None, reason: str) -> None:
    if atoms is not None:
        walk.table.freeze(atoms, reason)


@rule("max", "min", "median", "mode", "kthvalue", "topk", "sort", "argmax", "argmin", "argsort")
def chosen(walk: Walk, node: Node, args: Arguments) -> Result:
    """The best along one dimension, or all in order, and their numbers: that dimension stays, the others pass."""
    x, value = walk.need(args["self"]), node.meta.get("val")
    if args.get("other") is not None:  # the larger one of two tensors' elements
        return elementwise(walk, node, args)
    if args.get("dim") is None:
        raise Unknown
    axis = int(args["dim"]) % len(x.shape)
    _freeze(walk, x.dims[axis], f"compared with each other by {where(node)}")
    parts = value if isinstance(value, list | tuple) else (value,)
    shapes = [tuple(map(size_of, part.shape)) for part in parts if isinstance(part, torch.Tensor)]
    dims = [None if i == axis else atoms for i, atoms in enumerate(x.dims)]
    if len(shapes[0]) < len(dims):
        del dims[axis]
    flows = tuple(Flow(shape, tuple(dims)) for shape in shapes)
    walk.record(node, "other", [x], flows[0])
    return flows if isinstance(value, list | tuple) else flows[0]
