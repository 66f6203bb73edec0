"""A latency table as a cost model: look-ups in arrays over the widths that a search may choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.terms import CostEntry
from autoprune.hardware.tables.correction import LOADS, loads_of
from autoprune.hardware.tables.operator import Form, SlotPrice

if TYPE_CHECKING:
    from autoprune.hardware.tables.latency_table import LatencyTable

__all__ = ["latency_cost"]

Raw = dict[int, NDArray[np.float64]]


def latency_cost(table: LatencyTable, raw: Raw) -> AdditiveCost:
    """The cost model of a finished table in milliseconds.

    Args:
        table: Every layer has an entry, and the correction can be fitted.
        raw: What does not change with the correction, by number of the slot, shape (1 + loads, inputs, outputs):
            milliseconds and loads of its layers, NaN where two widths cannot occur together. Filled here, to be handed
            over again when only the correction has changed.

    Raises:
        InputError: If the table is not finished.
    """
    factors = table.factors
    for number in range(len(table.slots)):
        if number not in raw:
            raw[number] = _grid(table, number)
    parts = [_part(table, number, raw[number], factors) for number in range(len(table.slots))]
    return AdditiveCost("latency", "ms", table.space, [*parts, _constant(factors)])


def _grid(table: LatencyTable, number: int) -> NDArray[np.float64]:
    slot = table.slots[number]
    inputs, outputs = slot.grid(table.space)
    rows, columns = {w: i for i, w in enumerate(inputs)}, {w: i for i, w in enumerate(outputs)}
    grid = np.full((1 + len(LOADS), len(inputs), len(outputs)), np.nan)
    for pair in slot.pairs(table.space):
        layer = slot.of_widths(*pair)
        grid[:, rows[pair[0]], columns[pair[1]]] = (table.ms_of(layer), *loads_of(layer))
    return grid


def _part(table: LatencyTable, number: int, grid: NDArray[np.float64], factors: Mapping[str, float]) -> CostEntry:
    slot = table.slots[number]
    inputs, outputs = slot.grid(table.space)
    prices = np.array([factors[slot.layer.group], *(factors[name] for name in LOADS)])
    price = SlotPrice(
        slot.scope,
        slot.inputs,
        slot.outputs,
        np.array(inputs, dtype=np.int64),
        np.array(outputs, dtype=np.int64),
        np.tensordot(prices, grid, axes=1),
        slot.blocks,
    )
    return CostEntry(slot.name, slot.scope, price)


def _constant(factors: Mapping[str, float]) -> CostEntry:
    """The part that no decision changes."""
    one = np.ones(1, dtype=np.int64)
    value = np.array([[factors["constant"]]])
    return CostEntry("constant", (), SlotPrice((), Form(1), Form(1), one, one, value))
