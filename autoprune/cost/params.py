"""Parameters as a cost, and the bytes that they take in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoprune.cost._products import product_price
from autoprune.cost.additive import AdditiveCost
from autoprune.cost.effects import Effect, changed
from autoprune.cost.macs import inputs_of
from autoprune.cost.terms import CostEntry
from autoprune.graph import Analysis, Extent, tied
from autoprune.space import SearchSpace

__all__ = ["NUMBER", "bytes_cost", "params_cost"]

NUMBER = 4
"""Bytes of a float32, in which weights are written."""


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


def bytes_cost(analysis: Analysis, space: SearchSpace, effects: Mapping[str, Effect] | None = None) -> AdditiveCost:
    """Bytes of the parameters as float32, shared ones counted once, in the smallest layout that files have.

    Exact to a byte for each weight that is stored without its zeros: what it rounds up is left out.

    Args:
        analysis: Every parameter's shape as a function of the groups' widths.
        space: The decisions; groups that are none of them have their dense width.
        effects: Graph node -> what techniques change in it; `stored` says what is left of its weight.
    """
    analysis = tied(analysis, space.ties)
    fixed = {group.name: group.width for group in analysis.groups if group.name not in space.names}
    stored = _stored(analysis, effects or {}, fixed)
    entries = []
    for name, shape in analysis.parameters.items():
        scope, price = product_price([NUMBER, *shape], space.names, fixed, analysis.enclosing_blocks(name))
        effect, inputs = stored.get(name, (None, Extent(1, (), 1)))
        entries.append(changed(CostEntry(name, scope, price), effect, space, inputs))
    return AdditiveCost("bytes", "B", space, entries)


def _stored(
    analysis: Analysis, effects: Mapping[str, Effect], fixed: Mapping[str, int]
) -> dict[str, tuple[Effect, Extent]]:
    """Name of a weight -> (what is left of its bytes, its inputs)."""
    found = {}
    for op in analysis.ops:
        effect = effects.get(op.node)
        if effect is not None and effect.stored is not None and op.tensors and op.tensors[0] is not None:
            found[op.tensors[0]] = replace(effect, share=effect.stored), inputs_of(op, fixed)
    return found
