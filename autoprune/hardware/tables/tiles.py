"""Layers that a runtime cannot time alone, priced by the multiply-accumulates that it executes: those of whole tiles.

A kernel computes so many output channels at a time from so many input channels, and a width between two multiples
takes what the next one takes. Which multiples these are shows in whole networks: they are those with which a fit on
multiply-accumulates by class predicts networks best that it has not seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.least_squares import errors_of, fit_factors, fit_macs
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.tables.correction import GROUPS, loads_of

__all__ = ["NO_TILE", "Tile", "executed", "learn_tile"]

_INPUTS, _OUTPUTS = (1, 4, 8, 16), (1, 4, 8, 16, 32)
_BETTER = 0.8  # share of the error without tiles that the best tile may leave, to be believed

Network = Sequence[Layer]


class Tile(NamedTuple):
    """Input and output channels that a kernel works on at a time."""

    inputs: int
    outputs: int


NO_TILE = Tile(1, 1)


def executed(layer: Layer, tile: Tile) -> float:
    """Multiply-accumulates of a layer with its channels rounded up to whole tiles; in a grouped one, each group's.

    >>> executed(Layer("linear", 10, 20), Tile(4, 16)) == 12 * 32
    True
    """
    if not layer.macs:
        return 0.0
    depthwise = layer.groups == layer.inputs > 1
    inputs = 1 if depthwise else layer.inputs // layer.groups
    outputs = layer.outputs if depthwise else layer.outputs // layer.groups
    return layer.macs * _up(inputs, 1 if depthwise else tile.inputs) / inputs * _up(outputs, tile.outputs) / outputs


def learn_tile(networks: Sequence[Network], ms: NDArray[np.float64]) -> tuple[Tile, float]:
    """The tile with which multiply-accumulates by class predict networks best, each left out of the fit in turn.

    Args:
        networks: The layers that each network executes.
        ms: What it took, shape (networks,).

    Returns:
        The tile (no tile unless one is clearly better), and the mean relative error that it leaves.
    """
    loads = np.array([np.sum([loads_of(layer) for layer in network], axis=0) for network in networks])
    errors = {
        tile: _left_out(np.array([_by_class(network, tile) for network in networks]), loads, ms)
        for tile in itertools.starmap(Tile, itertools.product(_INPUTS, _OUTPUTS))
    }
    best = min(errors, key=lambda tile: errors[tile])
    chosen = best if errors[best] < _BETTER * errors[NO_TILE] else NO_TILE
    return chosen, errors[chosen]


def _by_class(network: Network, tile: Tile) -> NDArray[np.float64]:
    """Executed multiply-accumulates of every class of layers, shape (classes,)."""
    sums = np.zeros(len(GROUPS))
    for layer in network:
        sums[GROUPS.index(layer.group)] += executed(layer, tile)
    return sums


def _left_out(sums: NDArray[np.float64], loads: NDArray[np.float64], ms: NDArray[np.float64]) -> float:
    """Mean relative error on every network by a fit on the others."""
    predicted = np.empty_like(ms)
    for place in range(len(ms)):
        others = np.arange(len(ms)) != place
        slope, _ = fit_macs(sums[others].sum(axis=1), ms[others])
        factors = fit_factors(slope * sums[others], ms[others], loads[others])
        predicted[place] = np.concatenate([slope * sums[place], loads[place], [1.0]]) @ factors
    return errors_of(predicted, ms).mean


def _up(width: int, step: int) -> int:
    return -(-width // step) * step
