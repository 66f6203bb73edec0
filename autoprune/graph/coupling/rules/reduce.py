"""Rules of operators that shrink or mix the spatial dimensions: pooling, resizing, reductions, softmax."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from autoprune.graph.coupling.flow import Flow, Norm, Result, Statistic, Unknown, fixed, shape_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk

__all__: list[str] = []

_POOLS = tuple(f"{kind}_pool{rank}d" for kind in ("max", "avg", "lp") for rank in (1, 2, 3)) + tuple(
    f"max_pool{rank}d_with_indices" for rank in (1, 2, 3)
)
_ADAPTIVE = tuple(f"adaptive_{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3))
_RESIZES: tuple[str, ...] = ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d")
_RESIZES += ("upsample_linear1d", "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_nearest_exact2d")


def _numbers(value: Any, rank: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value or ())
    return tuple(int(n) for n in numbers) * (rank if len(numbers) == 1 else 1)


def _spatial(walk: Walk, node: Node, x: Flow) -> Flow:
    """The (first) output of an operator that works inside each channel."""
    first = fixed(node)
    shape = first[0].shape if isinstance(first, tuple) else first.shape if first is not None else ()
    if len(shape) != len(x.shape) or len(shape) < 3:
        raise Unknown
    for atoms in x.dims[2:]:
        walk.freeze(atoms, node)
    return Flow(shape, (*x.dims[:2], *(None,) * (len(shape) - 2)))


def _with_indices(node: Node, output: Flow) -> Result:
    """Where an operator also returns the places of its maxima, they have the output's shape."""
    value = node.meta.get("val")
    return (output,) * len(value) if isinstance(value, list | tuple) else output


@rule(*_POOLS)
def pool(walk: Walk, node: Node, args: Arguments) -> Result:
    """Windows inside each channel."""
    x = walk.need(args["self"])
    rank = len(x.shape) - 2
    kernel = _numbers(args["kernel_size"], rank)
    output = walk.record(
        node,
        "pool",
        [x],
        _spatial(walk, node, x),
        kernel=kernel,
        stride=_numbers(args["stride"], rank) or kernel,
        padding=_numbers(args.get("padding", 0), rank),
        dilation=_numbers(args.get("dilation", 1), rank),
    )
    return _with_indices(node, output)


@rule(*_ADAPTIVE)
def adaptive_pool(walk: Walk, node: Node, args: Arguments) -> Result:
    """Windows inside each channel, their size from the output's."""
    x = walk.need(args["self"])
    return _with_indices(node, walk.record(node, "pool", [x], _spatial(walk, node, x)))


@rule(*_RESIZES)
def resize(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each channel gets another height and width."""
    x = walk.need(args.get("self", args.get("input")))
    return walk.record(node, "other", [x], _spatial(walk, node, x))


_FIGURES = ("mean", "sum", "amax", "amin", "var", "std", "norm", "linalg_vector_norm")
_ADDED = ("sum", "norm", "linalg_vector_norm")  # what is 0 adds nothing


@rule(*_FIGURES, "logsumexp", "prod", figures=True)
def reduce(walk: Walk, node: Node, args: Arguments) -> Result:
    """A figure over some dimensions: a reduced dimension must stay whole, the others pass.

    The figure over a width, kept as a dimension of size 1, may be what normalises it (a hand-written RMSNorm):
    whether the width has to stay depends on where the figure goes.
    """
    x, over, shape = walk.need(args["self"]), args.get("dim"), shape_of(node)
    if shape is None:
        raise Unknown
    axes = range(len(x.shape)) if over in (None, []) else [over] if isinstance(over, int) else over
    reduced = {axis % len(x.shape) for axis in axes} if x.shape else set()
    if args.get("keepdim"):
        dims = [None if axis in reduced else dim for axis, dim in enumerate(x.dims)]
    else:
        dims = [dim for axis, dim in enumerate(x.dims) if axis not in reduced]
    if len(dims) != len(shape):
        raise Unknown
    widths = [axis for axis in sorted(reduced) if x.dims[axis] is not None]
    figure = _figure(walk, node, x, widths) if args.get("keepdim") else ()
    for axis in widths if not figure else ():
        walk.freeze(x.dims[axis], node, "summed over by")
    if not args.get("keepdim"):
        walk.leak([x])
    over_width = (*x.over, *figure) if args.get("keepdim") else ()
    kind = "pool" if reduced and min(reduced) >= 2 else "other"
    output = Flow(shape, tuple(dims), x.tensor if figure else None, over_width)
    return walk.record(node, kind, [x], output) if x.tensor is None else output


def _figure(walk: Walk, node: Node, x: Flow, widths: list[int]) -> tuple[Statistic, ...]:
    """The figure over the only width reduced; nothing where it is not understood as one.

    Of a parameter it may be a length or sum, by which its rows are scaled: columns that are 0 change nothing in it.
    """
    name = node.target._schema.name.removeprefix("aten::")  # type: ignore[union-attr]
    if x.tensor is not None and name in _ADDED:
        found = [(axis - len(x.shape), x.dims[axis]) for axis in widths]
        return tuple(Statistic(node, axis, atoms) for axis, atoms in found if atoms is not None)
    atoms = x.dims[widths[0]] if len(widths) == 1 else None
    if atoms is None or name not in _FIGURES or x.tensor is not None:
        return ()
    axis = widths[0] - len(x.shape)
    walk.norms.append(Norm(node, axis, atoms, keeps=False))
    return (Statistic(node, axis, atoms),)


@rule("softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum")
def mixing(walk: Walk, node: Node, args: Arguments) -> Result:
    """Every element depends on all others along one dimension, which must stay whole."""
    x = walk.need(args["self"])
    walk.freeze(x.dims[int(args["dim"])] if x.dims else None, node, "summed over by")
    return walk.record(node, "other", [x], Flow(x.shape, x.dims))
