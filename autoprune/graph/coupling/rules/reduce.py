"""Rules of operators that shrink or mix the spatial dimensions: pooling, reductions, softmax."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from autoprune.graph.coupling.flow import Flow, Norm, Result, Statistic, Unknown, for_each_result, shape_of
from autoprune.graph.coupling.rule_table import Arguments, base_name, rule
from autoprune.graph.coupling.rules.resample import inside_channels
from autoprune.graph.coupling.walk import Walk

__all__: list[str] = []

_POOLS = tuple(f"{kind}_pool{rank}d" for kind in ("max", "avg", "lp") for rank in (1, 2, 3)) + tuple(
    f"max_pool{rank}d_with_indices" for rank in (1, 2, 3)
)
_ADAPTIVE = tuple(f"adaptive_{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3))
_ADAPTIVE += ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d")


def _numbers(value: Any, rank: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value or ())
    return tuple(int(n) for n in numbers) * (rank if len(numbers) == 1 else 1)


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
        inside_channels(walk, node, x),
        kernel=kernel,
        stride=_numbers(args["stride"], rank) or kernel,
        padding=_numbers(args.get("padding", 0), rank),
        dilation=_numbers(args.get("dilation", 1), rank),
    )
    return for_each_result(node, output)


@rule(*_ADAPTIVE)
def adaptive_pool(walk: Walk, node: Node, args: Arguments) -> Result:
    """Windows inside each channel, their size from the output's."""
    x = walk.need(args["self"])
    return for_each_result(node, walk.record(node, "pool", [x], inside_channels(walk, node, x)))


_FIGURES = ("mean", "sum", "amax", "amin", "var", "std", "norm", "linalg_vector_norm")
_ADDED = ("sum", "norm", "linalg_vector_norm")  # what is 0 adds nothing


_OTHERS = ("logsumexp", "prod", "nanmean", "nansum", "any", "all", "count_nonzero", "var_mean", "std_mean", "aminmax")


@rule(*_FIGURES, *_OTHERS, figures=True)
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
    return for_each_result(node, walk.record(node, kind, [x], Flow(shape, tuple(dims), over=over_width)))


def _figure(walk: Walk, node: Node, x: Flow, widths: list[int]) -> tuple[Statistic, ...]:
    """The figure over the only width reduced; nothing where it is not understood as one.

    Of a parameter it may be a length or sum, by which its rows are scaled: columns that are 0 change nothing in it.
    """
    name = base_name(node)
    if x.tensor is not None and name in _ADDED:
        found = [(axis - len(x.shape), x.dims[axis]) for axis in widths]
        return tuple(Statistic(node, axis, atoms) for axis, atoms in found if atoms is not None)
    atoms = x.dims[widths[0]] if len(widths) == 1 else None
    if atoms is None or name not in _FIGURES or x.tensor is not None:
        return ()
    axis = widths[0] - len(x.shape)
    walk.norms.append(Norm(node, axis, atoms, keeps=False))
    return (Statistic(node, axis, atoms),)


@rule("softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp")
def mixing(walk: Walk, node: Node, args: Arguments) -> Result:
    """Every element depends on all others along one dimension, which must stay whole."""
    x = walk.need(args["self"])
    walk.freeze(x.dims[int(args["dim"])] if x.dims else None, node, "summed over by")
    return walk.record(node, "other", [x], Flow(x.shape, x.dims))


@rule("diff")
def difference(walk: Walk, node: Node, args: Arguments) -> Result:
    """Neighbours along one dimension, which must stay whole, taken from each other."""
    x, shape = walk.need(args["self"]), shape_of(node)
    if shape is None or args.get("prepend") is not None or args.get("append") is not None:
        raise Unknown
    axis = int(args["dim"]) % len(shape)
    walk.freeze(x.dims[axis], node)
    dims = [None if place == axis else atoms for place, atoms in enumerate(x.dims)]
    return walk.record(node, "other", [x], Flow(shape, tuple(dims)))
