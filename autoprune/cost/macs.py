"""Multiply-accumulates as a cost: what papers call FLOPs, one for a multiplication and its addition."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.cost._products import product_price
from autoprune.cost.additive import AdditiveCost
from autoprune.cost.effects import Effect, changed
from autoprune.cost.terms import CostEntry
from autoprune.graph import Analysis, Extent, Op, tied
from autoprune.space import SearchSpace

__all__ = ["inputs_of", "mac_dimensions", "macs_cost"]


def macs_cost(analysis: Analysis, space: SearchSpace, effects: Mapping[str, Effect] | None = None) -> AdditiveCost:
    """Multiply-accumulates of every convolution and linear layer for one input; exact for every policy.

    A layer computes each output element from one row of its weight: positions of the output x shape of the weight
    without its first dimension (a transposed convolution: positions of the input). Biases are not counted, nor is
    what goes with a dropped block.

    Args:
        analysis: The model's operators.
        space: The decisions; groups that are none of them have their dense width.
        effects: Graph node -> what techniques change in it beside its widths.
    """
    analysis = tied(analysis, space.ties)
    fixed = {group.name: group.width for group in analysis.groups if group.name not in space.names}
    entries = []
    for op in analysis.ops:
        if op.kind in ("conv", "depthwise", "linear") and op.params:
            scope, price = product_price(mac_dimensions(op), space.names, fixed, analysis.enclosing_blocks(op.node))
            entry, effect = CostEntry(op.name, scope, price), (effects or {}).get(op.node)
            entries.append(changed(entry, effect, space, inputs_of(op, fixed)))
    return AdditiveCost("flops", "MACs", space, entries)


def inputs_of(op: Op, fixed: Mapping[str, int]) -> Extent:
    """How many inputs each output is computed from, kernel positions aside."""
    size = op.params[0][0 if op.transposed else 1]
    return size.fixing(fixed) if isinstance(size, Extent) else Extent(size, (), size)


def mac_dimensions(op: Op) -> list[Extent | int]:
    """Sizes whose product is the multiply-accumulates of a convolution or linear layer for one input."""
    pixels = op.inputs[0] if op.transposed else op.output
    return [*pixels, *op.params[0][1:]]
