"""What a table does not hold, estimated: by a step function of the measured layers, or from whole networks alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.least_squares import fit_macs
from autoprune.errors import InputError
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.tables.content import TableContent
from autoprune.hardware.tables.entries import Entry
from autoprune.hardware.tables.step_function import StepFunction
from autoprune.hardware.tables.tiles import NO_TILE, Tile, executed, learn_tile

__all__ = ["by_step_functions", "by_tiles", "doubtful"]

# A layer this far from its family's step function is measured again: a share, and a floor in milliseconds.
_DOUBT = 0.15
_RESOLUTION = 3e-4

_FEW = 8  # layers of a family; fewer do not show the steps of a function that has four coefficients beside


def by_step_functions(table: TableContent) -> dict[str, Entry]:
    """Entries of all layers that were not measured, by step functions of the measured layers of the same family.

    A family of which a few layers were measured has the steps that whole networks show, if they show some.

    Raises:
        InputError: If a family has no measured layer at all.
    """
    missing = [layer for key, layer in table.layers().items() if table.source(key) != "measured"]
    learned = _learned(table, {layer.family for layer in missing}, lambda: _tile_of(table))
    filled: dict[str, Entry] = {}
    for layer in missing:
        if layer.family not in learned:
            raise InputError(f"no layer of the family {layer.family!r} was measured; profile again")
        steps = learned[layer.family]
        (value,) = steps([layer.inputs], [layer.outputs])
        filled[layer.key] = Entry(round(float(value), 7), round(steps.error, 4), "estimated")
    return filled


def by_tiles(table: TableContent) -> dict[str, Entry]:
    """Entries by multiply-accumulates of whole tiles, learned on the networks that were timed to fit the correction.

    For targets that cannot time a layer alone.
    """
    networks, ms = _networks(table)
    tile, error = learn_tile(networks, ms)
    slope, _ = fit_macs(np.array([sum(executed(layer, tile) for layer in network) for network in networks]), ms)
    return {
        key: Entry(float(slope * executed(layer, tile)), round(error, 4), "estimated")
        for key, layer in table.layers().items()
    }


def doubtful(table: TableContent) -> dict[str, float]:
    """Measured layers that lie off the step function of their family, or were not stable.

    Returns:
        Layer key -> milliseconds by the step function.
    """
    layers = {key: layer for key, layer in table.layers().items() if table.source(key) == "measured"}
    learned = _learned(table, {layer.family for layer in layers.values()})
    found: dict[str, float] = {}
    for key, layer in layers.items():
        (expected,) = learned[layer.family]([layer.inputs], [layer.outputs])
        entry = table.entries[key]
        off = abs(table.ms_of(layer) - expected) > max(_DOUBT * expected, _RESOLUTION)
        if off or not entry.stable:
            found[key] = float(expected)
    return found


def _tile_of(table: TableContent) -> Tile:
    """The steps that the networks of the fit show; none of a table that has no networks."""
    networks, ms = _networks(table)
    return learn_tile(networks, ms)[0] if networks else NO_TILE


def _networks(table: TableContent) -> tuple[list[list[Layer]], NDArray[np.float64]]:
    """The layers of the networks that were timed to fit the correction, and what each took."""
    runs = table.runs_of("fit")
    networks = [[layer for _, layer in table.executed(run.choices)] for run in runs]
    return networks, np.array([table.ms_of_run(run) for run in runs])


def _learned(
    table: TableContent, families: set[str], shown: Callable[[], Tile] | None = None
) -> dict[str, StepFunction]:
    """The step function of every one of some families that has a measured layer.

    Args:
        table: What was measured.
        families: Which.
        shown: Says the steps of families with few measured layers; asked once, and if there is such a family.
    """
    known: dict[str, list[Layer]] = {}
    for key, layer in table.layers().items():
        if layer.family in families and table.source(key) == "measured":
            known.setdefault(layer.family, []).append(layer)
    few = shown is not None and any(len(points) < _FEW for points in known.values())
    tile = shown() if few and shown is not None else NO_TILE
    return {
        family: StepFunction.learn(
            [x.inputs for x in points],
            [x.outputs for x in points],
            [table.ms_of(x) for x in points],
            steps=tile if len(points) < _FEW and tile != NO_TILE else None,
        )
        for family, points in known.items()
    }
