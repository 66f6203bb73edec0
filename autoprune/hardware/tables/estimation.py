"""What a table does not hold, estimated: by a step function of the measured layers, or from whole networks alone."""

from __future__ import annotations

import numpy as np

from autoprune.cost.least_squares import fit_macs
from autoprune.errors import InputError
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.tables.content import TableContent
from autoprune.hardware.tables.entries import Entry
from autoprune.hardware.tables.step_function import StepFunction
from autoprune.hardware.tables.tiles import executed, learn_tile

__all__ = ["by_step_functions", "by_tiles", "doubtful"]

# A layer this far from its family's step function is measured again: a share, and a floor in milliseconds.
_DOUBT = 0.15
_RESOLUTION = 3e-4


def by_step_functions(table: TableContent) -> dict[str, Entry]:
    """Entries of all layers that were not measured, by step functions of the measured layers of the same family.

    Raises:
        InputError: If a family has no measured layer at all.
    """
    missing = [layer for key, layer in table.layers().items() if table.source(key) != "measured"]
    learned = _learned(table, {layer.family for layer in missing})
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
    runs = table.runs_of("fit")
    networks = [[layer for _, layer in table.executed(run.choices)] for run in runs]
    ms = np.array([table.ms_of_run(run) for run in runs])
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


def _learned(table: TableContent, families: set[str]) -> dict[str, StepFunction]:
    """The step function of every one of some families that has a measured layer."""
    known: dict[str, list[Layer]] = {}
    for key, layer in table.layers().items():
        if layer.family in families and table.source(key) == "measured":
            known.setdefault(layer.family, []).append(layer)
    return {
        family: StepFunction.learn(
            [x.inputs for x in points], [x.outputs for x in points], [table.ms_of(x) for x in points]
        )
        for family, points in known.items()
    }
