"""What the agent sees: AMC's columns, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoprune.cost import CostModel
from autoprune.cost.terms import owned_by
from autoprune.errors import InputError
from autoprune.space import SearchSpace

if TYPE_CHECKING:
    from autoprune.graph import Analysis, Op

__all__ = ["AMC_FEATURES", "amc_features", "static_columns", "width_features"]

_WEIGHTED = ("conv", "depthwise", "linear")

AMC_FEATURES = ("output channels", "input channels", "input height", "input width", "stride", "kernel size")


def width_features(space: SearchSpace) -> NDArray[np.float64]:
    """The features of a search space that was not read off a network: each decision's width, shape (D, 1)."""
    return np.array([[decision.width] for decision in space.decisions], dtype=np.float64)


def amc_features(analysis: Analysis, space: SearchSpace) -> NDArray[np.float64]:
    """AMC's features of each layer (section 3.2): n, c, h, w, stride, k.

    A coupled group shows the features of its first producer, which also names it. A block shows the input of its first
    layer and the output channels of its last; it has no stride and no kernel, and both are 0.

    Args:
        analysis: The network's operators and groups.
        space: The decisions, named after groups of `analysis`.

    Returns:
        Shape (decisions, 6), in the order of `AMC_FEATURES`, of the dense network and not scaled; zeros for a
        decision whose producer is no convolution or linear layer.
    """
    layers: dict[str, Op] = {}
    for op in analysis.ops:
        if op.kind in _WEIGHTED:
            layers.setdefault(op.name, op)
    first = {group.name: next(iter(group.producers), group.name) for group in analysis.groups}
    inside = {block.name: block.nodes for block in analysis.blocks}
    rows = []
    for name in space.names:
        layer = layers.get(first.get(name, name))
        if name in inside:
            rows.append(_block_features([op for op in analysis.ops if op.node in inside[name]]))
        else:
            rows.append([0.0] * len(AMC_FEATURES) if layer is None else _operator_features(layer))
    return np.array(rows, dtype=np.float64).reshape(len(space), len(AMC_FEATURES))


def _block_features(ops: Sequence[Op]) -> list[float]:
    rows = [_operator_features(op) for op in ops if op.kind in _WEIGHTED]
    return [rows[-1][0], *rows[0][1:4], 0.0, 0.0] if rows else [0.0] * len(AMC_FEATURES)


def _operator_features(op: Op) -> list[float]:
    shape = [_dense(extent) for extent in op.inputs[0]]
    spatial = shape[2:] if op.kind != "linear" else []
    height, width = (*spatial, 1.0, 1.0)[:2]
    channels_in = shape[-1] if op.kind == "linear" else shape[1]
    channels_out = _dense(op.output[-1] if op.kind == "linear" else op.output[1])
    stride = float(max(op.stride, default=1))
    kernel = float(max(op.kernel, default=1))
    return [channels_out, channels_in, height, width, stride, kernel]


def _dense(extent: Any) -> float:
    """A dimension's size in the dense network; extents that depend on widths store it."""
    return float(getattr(extent, "dense", extent))


def static_columns(space: SearchSpace, cost: CostModel, features: NDArray[np.float64]) -> NDArray[np.float32]:
    """The columns of the observation that do not change during an episode.

    Args:
        space: The decisions.
        cost: Prices them; a decision's column is the dense cost of the entries that it owns, a column for each part.
        features: One row a decision, shape (D, k), in any unit.

    Returns:
        Index, features, own costs: shape (D, k + 1 + parts), each column min-max scaled over the decisions to [0, 1]; a
        column without spread is 0.

    Raises:
        InputError: If `features` has another number of rows or a number that is not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) != len(space) or not np.all(np.isfinite(features)):
        raise InputError(f"features must be finite, of shape ({len(space)}, k), not {features.shape}")
    columns = np.column_stack([np.arange(len(space)), features, *map(owned_by, cost.parts)])
    low, spread = columns.min(axis=0), np.ptp(columns, axis=0)
    return np.asarray((columns - low) / np.where(spread > 0, spread, 1.0), dtype=np.float32)
