"""Rules of operators that write values to places given by number, as graph networks sum their messages."""

from __future__ import annotations

from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk

__all__: list[str] = []


@rule("index_add", "index_copy", "index_reduce")
def write_lines(walk: Walk, node: Node, args: Arguments) -> Result:
    """Whole lines are written to places of one dimension, which must stay whole; all others are tied."""
    x, source = walk.need(args["self"]), walk.need(args["source"])
    return _written(walk, node, x, [source], int(args["dim"]))


@rule("index_fill")
def fill_lines(walk: Walk, node: Node, args: Arguments) -> Result:
    """A number is written to places of one dimension, which must stay whole."""
    return _written(walk, node, walk.need(args["self"]), [], int(args["dim"]))


@rule("scatter", "scatter_add", "scatter_reduce")
def scatter(walk: Walk, node: Node, args: Arguments) -> Result:
    """Single values are written to places of one dimension, which must stay whole; all others are tied."""
    x, source = walk.need(args["self"]), walk.flow(args.get("src"))
    parts = [walk.need(args["index"]), *([source] if source is not None else [])]
    return _written(walk, node, x, parts, int(args["dim"]))


@rule("index_put", "_unsafe_index_put")
def put(walk: Walk, node: Node, args: Arguments) -> Result:
    """Values are written to places of the leading dimensions; the dimensions behind them are tied."""
    x, values, places = walk.need(args["self"]), walk.need(args["values"]), args["indices"]
    if any(place is None for place in places) or values.tensor is not None or x.tensor is not None:
        raise Unknown
    indices = [walk.need(place) for place in places]
    if any(len(index.shape) != 1 or place.meta["val"].dtype.itemsize == 1 for index, place in _pairs(indices, places)):
        raise Unknown  # masks, and grids of places
    for axis in range(len(places)):
        walk.freeze(x.dims[axis], node, "written by number in")
    dims = list(x.dims)
    for back in range(len(places) - len(x.shape), 0):
        if len(values.shape) >= -back and values.shape[back] == x.shape[back] > 1:
            dims[back] = walk.tie(dims[back], values.dims[back], node)
    return walk.record(node, "other", [x, values], Flow(x.shape, tuple(dims)))


def _pairs(indices: list[Flow], places: list[Node]) -> zip[tuple[Flow, Node]]:
    return zip(indices, places, strict=True)


def _written(walk: Walk, node: Node, x: Flow, parts: list[Flow], dim: int) -> Flow:
    """What comes of ``x`` once values are written to places of ``dim``.

    Raises:
        Unknown: A part covers only some places of another dimension, or a parameter is written to.
    """
    axis, dims = dim % len(x.shape), list(x.dims)
    if any(len(part.shape) != len(x.shape) for part in parts) or x.tensor is not None:
        raise Unknown
    for flow in (x, *parts):
        walk.freeze(flow.dims[axis], node, "written by number in")
    for other in (other for other in range(len(dims)) if other != axis):
        if any(part.shape[other] != x.shape[other] for part in parts):
            raise Unknown
        dims[other] = _tied(walk, node, [dims[other], *(part.dims[other] for part in parts)])
    return walk.record(node, "other", [x, *parts], Flow(x.shape, tuple(dims)))


def _tied(walk: Walk, node: Node, sides: list[Atoms | None]) -> Atoms | None:
    found = sides[0]
    for side in sides[1:]:
        found = walk.tie(found, side, node)
    return found
