"""A latency table as a cost model: look-ups in arrays over the widths that a search may choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.terms import CostEntry
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.tables.correction import LOADS, loads_of
from autoprune.hardware.tables.operator import OperatorPrice, PricedOperator
from autoprune.space import SearchSpace

__all__ = ["latency_cost"]


def latency_cost(
    space: SearchSpace,
    operators: Sequence[PricedOperator],
    ms_of: Callable[[Layer], float],
    factors: Mapping[str, float],
) -> AdditiveCost:
    """The cost model in milliseconds.

    Args:
        space: The decisions and their options.
        operators: Where the model uses which layers.
        ms_of: Milliseconds of a layer, uncorrected.
        factors: The correction: a factor for every class of layers, a price for every load, and a `constant`.
    """
    parts = [_entry(operator, space, ms_of, factors) for operator in operators]
    constant = CostEntry("constant", (), OperatorPrice.constant(factors["constant"]))
    return AdditiveCost("latency", "ms", space, [*parts, constant])


def _entry(
    operator: PricedOperator, space: SearchSpace, ms_of: Callable[[Layer], float], factors: Mapping[str, float]
) -> CostEntry:
    inputs, outputs = operator.grid(space)
    prices = np.array([factors[operator.layer.group], *(factors[name] for name in LOADS)])
    price = OperatorPrice(
        operator.scope,
        operator.inputs,
        operator.outputs,
        np.array(inputs, dtype=np.int64),
        np.array(outputs, dtype=np.int64),
        np.tensordot(prices, _uncorrected(operator, space, ms_of), axes=1),
        operator.blocks,
        operator.when,
    )
    return CostEntry(operator.name, operator.scope, price)


def _uncorrected(operator: PricedOperator, space: SearchSpace, ms_of: Callable[[Layer], float]) -> NDArray[np.float64]:
    """Milliseconds and loads of an operator's layers, shape (1 + loads, inputs, outputs).

    NaN where two widths cannot occur together.
    """
    inputs, outputs = operator.grid(space)
    rows, columns = {w: i for i, w in enumerate(inputs)}, {w: i for i, w in enumerate(outputs)}
    found = np.full((1 + len(LOADS), len(inputs), len(outputs)), np.nan)
    for pair in operator.pairs(space):
        layer = operator.of_widths(*pair)
        found[:, rows[pair[0]], columns[pair[1]]] = (ms_of(layer), *loads_of(layer))
    return found
