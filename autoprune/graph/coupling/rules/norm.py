"""Rules of normalisations: each channel by itself, whole groups of channels, or over a width that may shrink.

Where figures are taken over a width, a unit cannot be removed by silencing its readers: the others would still be
normalised by it. Such widths are prunable all the same: once cut, the network normalises over the units that are
left. ``Walk.norms`` lists these operators, for the reference that the proof compares with (reference.py).
"""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.flow import Flow, Norm, Result, Unknown, repeat_first
from autoprune.graph.coupling.rule_table import Arguments, bound, rule
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.size_origins import origin_of_last, origins

__all__: list[str] = []


@rule("batch_norm", "instance_norm")
def channel_norm(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each channel by its own statistics: the channel stays what it is.

    A weight that is standardised so, row by row, is taken over the columns that are left.
    """
    x = walk.need(args["input"])
    params = tuple(walk.flow(args[name]) for name in ("weight", "bias", "running_mean", "running_var"))
    for flow in params:
        if flow is not None:
            walk.tie(x.dims[1], flow.dims[0], node)
    walk.note_attributes(node, params, num_features=x.dims[1])
    for back in range(2 - len(x.shape), 0):
        if (atoms := x.dims[back]) is not None and x.tensor is not None:
            walk.norms.append(Norm(node, back, atoms, weight=True))
        else:
            walk.freeze(atoms, node, "normalised over by")
    if x.tensor is not None:
        return x
    return walk.record(node, "batch_norm", [x], Flow(x.shape, x.dims), params)


@rule("group_norm")
def group_norm(walk: Walk, node: Node, args: Arguments) -> Result:
    """Statistics over a group's channels: whole groups go, or the same number of channels out of each.

    Whole groups leave the others as they are; the other way normalises each group over what is left of it. The
    finer interpretation is tried first; a failed validation flips it.
    """
    x, groups = walk.need(args["input"]), int(args["num_groups"])
    params = tuple(walk.flow(args[name]) for name in ("weight", "bias"))
    channels, size = x.dims[1], x.shape[1] // groups
    for atoms in x.dims[2:]:
        walk.freeze(atoms, node, "normalised over by")
    if channels is not None:
        whole = groups >= size
        if 1 not in (groups, size) and walk.choose_interpretation(node, channels):
            whole = not whole
        if whole:
            units = repeat_first(channels, size)
            walk.table.tie(np.repeat(units, size), channels)
            walk.note_attributes(node, params, num_groups=units)
            walk.counts.add(origin_of_last(node, groups), units)
        else:
            walk.table.tie(np.tile(channels[:size], groups), channels)
            named = (("weight", -1), ("bias", -1))
            walk.norms.append(Norm(node, 1 - len(x.shape), channels, named))
        walk.note_attributes(node, params, num_channels=channels)
    for flow in params:
        if flow is not None:
            walk.tie(channels, flow.dims[0], node)
    return walk.record(node, "other", [x], Flow(x.shape, x.dims), params)


@rule("layer_norm", "rms_norm")
def layer_norm(walk: Walk, node: Node, args: Arguments) -> Result:
    """Statistics over the last dimensions: one of them may shrink, and then they are taken over what is left."""
    x, rank = walk.need(args["input"]), len(args["normalized_shape"])
    named = {name: walk.flow(args.get(name)) for name in ("weight", "bias")}
    params = tuple(named.values())
    tracked = [back for back in range(-rank, 0) if x.dims[back] is not None]
    for back in range(-rank, 0):
        for flow in params:
            if flow is not None:
                walk.tie(x.dims[back], flow.dims[back], node)
    for back in tracked[:-1] if len(tracked) > 1 else ():
        walk.freeze(x.dims[back], node, "normalised over together with another width by")
    if tracked:
        _over_one(walk, node, x, named, tracked[-1], rank)
    return walk.record(node, "other", [x], Flow(x.shape, x.dims), params)


def _over_one(walk: Walk, node: Node, x: Flow, named: dict[str, Flow | None], back: int, rank: int) -> None:
    """Note that the figures are taken over the dimension ``back`` from the end, and that its module counts it."""
    atoms = x.dims[back]
    if atoms is None:
        raise Unknown
    given = tuple((name, back) for name, flow in named.items() if flow is not None)
    walk.norms.append(Norm(node, back, atoms, given, "normalized_shape"))
    walk.counts.add(origins(node, bound(node)["normalized_shape"])[back], atoms)
    walk.note_attributes(node, tuple(named.values()), **{f"normalized_shape.{rank + back}": atoms})


@rule("_weight_norm")
def weight_norm(walk: Walk, node: Node, args: Arguments) -> Result:
    """``g * v / |v|`` with a length for each row: a column at 0 adds nothing to it, so rows and columns can go."""
    v, g = walk.need(args["v"]), walk.need(args["g"])
    if int(args["dim"]) != 0 or v.tensor is None:
        raise Unknown
    rows = walk.tie(v.dims[0], g.dims[0], node)
    output = Flow(v.shape, (rows, *v.dims[1:]), v.tensor)
    return walk.record(node, "other", [], output, [v, g])
