"""Multiply-accumulates of a policy."""

from __future__ import annotations

from autoprune.cost.additive import AdditiveCost, CostEntry
from autoprune.cost.counts import Count, scope_of
from autoprune.graph import Analysis, Op, Shape
from autoprune.space import SearchSpace

__all__ = ["macs_cost"]

_COUNTED = ("conv", "depthwise", "linear")


def macs_cost(analysis: Analysis, space: SearchSpace) -> AdditiveCost:
    """Multiply-accumulates of convolutions and linear layers for one input, exact for every policy.

    Args:
        analysis: Of the model.
        space: Decisions on its groups.
    """
    dense = {group.name: group.width for group in analysis.groups}
    entries = []
    for op in analysis.ops:
        if op.kind in _COUNTED:
            shape = _multiplied(op)
            scope = scope_of(shape, space.names)
            entries.append(CostEntry(op.name, scope, Count(scope, shape, 1, dense)))
    return AdditiveCost("flops", "MACs", space, entries)


def _multiplied(op: Op) -> Shape:
    """Sizes whose product is the operator's multiply-accumulates: its outputs times what each one reads.

    Every output element reads one row of the weight; for a transposed convolution, every input element.
    """
    pixels = op.inputs[0] if op.transposed else op.output
    return (*pixels, *op.params[0][1:])
