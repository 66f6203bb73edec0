"""Parameters of a policy."""

from __future__ import annotations

from autoprune.cost.additive import AdditiveCost, CostEntry
from autoprune.cost.counts import Count, scope_of
from autoprune.graph import Analysis
from autoprune.space import SearchSpace

__all__ = ["params_cost"]


def params_cost(analysis: Analysis, space: SearchSpace) -> AdditiveCost:
    """Number of parameters, exact for every policy; a shared one counts once.

    Args:
        analysis: Of the model.
        space: Decisions on its groups.
    """
    dense = {group.name: group.width for group in analysis.groups}
    entries = []
    for name, shape in analysis.parameters.items():
        scope = scope_of(shape, space.names)
        entries.append(CostEntry(name, scope, Count(scope, shape, 1, dense)))
    return AdditiveCost("params", "parameters", space, entries)
