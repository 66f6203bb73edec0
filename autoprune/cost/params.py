"""Parameters as a cost: the size of the network on disk."""

from __future__ import annotations

from autoprune.cost._products import product_price
from autoprune.cost.additive import AdditiveCost
from autoprune.cost.terms import CostEntry
from autoprune.graph import Analysis, tied
from autoprune.space import SearchSpace

__all__ = ["params_cost"]


def params_cost(analysis: Analysis, space: SearchSpace) -> AdditiveCost:
    """Number of parameters, shared ones counted once; buffers such as running means do not count.

    Those of a dropped block are gone.

    Args:
        analysis: Every parameter's shape as a function of the groups' widths.
        space: The decisions; groups that are none of them have their dense width.
    """
    analysis = tied(analysis, space.ties)
    fixed = {group.name: group.width for group in analysis.groups if group.name not in space.names}
    entries = []
    for name, shape in analysis.parameters.items():
        scope, price = product_price(shape, space.names, fixed, analysis.enclosing_blocks(name))
        entries.append(CostEntry(name, scope, price))
    return AdditiveCost("params", "parameters", space, entries)
