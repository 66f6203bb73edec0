"""Rules of operators that give each channel another height and width: resizing, sampling on a grid, unpooling."""

from __future__ import annotations

from torch.fx import Node

from autoprune.graph.coupling.flow import Flow, Result, Unknown, shape_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk

__all__ = ["inside_channels"]

_RESIZES = [f"upsample_{kind}" for kind in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")]
_RESIZES += [f"{kind}{rank}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for rank in (1, 2, 3)]
_RESIZES += [f"_upsample_{kind}2d_aa" for kind in ("bilinear", "bicubic", "lanczos")]


def inside_channels(walk: Walk, node: Node, x: Flow) -> Flow:
    """The (first) output of an operator that works inside each channel.

    Raises:
        Unknown: It drops or adds dimensions, or there are none behind the channels.
    """
    shape = shape_of(node) or ()
    if len(shape) != len(x.shape) or len(shape) < 3:
        raise Unknown
    for atoms in x.dims[2:]:
        walk.freeze(atoms, node)
    return Flow(shape, (*x.dims[:2], *(None,) * (len(shape) - 2)))


@rule(*_RESIZES)
def resize(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each channel gets another height and width."""
    x = walk.need(args.get("self", args.get("input")))
    return walk.record(node, "other", [x], inside_channels(walk, node, x))


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sample(walk: Walk, node: Node, args: Arguments) -> Result:
    """Every channel is read at the same places; the places are whole as they are."""
    x, grid = walk.need(args["input"]), walk.need(args["grid"])
    for atoms in grid.dims:
        walk.freeze(atoms, node, "read as places by")
    return walk.record(node, "other", [x, grid], inside_channels(walk, node, x))


@rule("max_unpool2d", "max_unpool3d")
def unpool(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each channel's values go back to the places that its own pooling noted."""
    x, places = walk.need(args["self"]), walk.need(args["indices"])
    walk.tie(x.dims[1], places.dims[1], node)
    return walk.record(node, "other", [x, places], inside_channels(walk, node, x))
