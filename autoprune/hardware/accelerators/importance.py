"""How much each filter matters on a chip: by what its loss costs in score, and its row in time and energy.

On a chip that skips zeros a row's cost is exact: the difference that its own weights make, in the processing element
that holds them. On one that does not, single rows cost nothing until a whole tile of them is gone; a row then counts as
its share of one tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.importance import ImportanceWeights, hardware_importance
from autoprune.errors import InputError
from autoprune.hardware.accelerators.base import Accelerator
from autoprune.hardware.accelerators.workload.work import LayerWork

__all__ = ["RowCosts", "RowImportance", "row_costs", "row_importance"]

Floats = NDArray[np.float64]

_LEAST_SHARE = 0.01  # of the mean: what saves less would be infinitely important by 1 / saving


@dataclass(frozen=True, eq=False)
class RowCosts:
    """What each row of a layer costs in one call.

    Attributes:
        ms: Milliseconds, (outputs,); 0 or more.
        mj: Millijoules, (outputs,).
    """

    ms: Floats
    mj: Floats


@dataclass(frozen=True, eq=False)
class RowImportance:
    """Importance of every row, comparable between layers.

    Attributes:
        values: Layer -> (outputs,): the least important may go first.
        clipped: How many rows were taken to save a hundredth of the mean, in time or in energy, since they save less.
    """

    values: Mapping[str, Floats]
    clipped: int


def row_costs(chip: Accelerator, work: LayerWork) -> RowCosts:
    """What each row of a layer costs: cost with it, minus cost without.

    Args:
        chip: Where it runs.
        work: The layer.
    """
    if chip.rows_of_a_tile == 1:
        without = [chip.price(_without_weights(work, row)) for row in range(work.outputs)]
        whole = chip.price(work)
        saved = [(chip.ms(whole) - chip.ms(each), whole.energy_mj - each.energy_mj) for each in without]
        ms, mj = np.maximum(np.array(saved), 0.0).T
        return RowCosts(ms, mj)
    return _of_a_tile(chip, work)


def _without_weights(work: LayerWork, row: int) -> LayerWork:
    mask = work.mask.copy()
    mask[row] = False
    return work.with_mask(mask)


def _of_a_tile(chip: Accelerator, work: LayerWork) -> RowCosts:
    """The share of one tile of rows, the same for all of them: between two tiles nothing is saved."""
    rows = work.outputs // work.groups
    less = min(chip.rows_of_a_tile, rows - 1)
    if not less:
        return RowCosts(np.zeros(work.outputs), np.zeros(work.outputs))
    kept = work.mask.reshape(work.groups, rows, -1)[:, : rows - less].reshape(-1, work.inputs)
    whole, narrower = chip.price(work.dense()), chip.price(replace(work, mask=np.ones_like(kept)))
    count = less * work.groups
    ms, mj = chip.ms(whole) - chip.ms(narrower), whole.energy_mj - narrower.energy_mj
    return RowCosts(np.full(work.outputs, max(0.0, ms) / count), np.full(work.outputs, max(0.0, mj) / count))


def row_importance(
    chip: Accelerator, works: Sequence[LayerWork], saliency: Mapping[str, Floats], weights: ImportanceWeights
) -> RowImportance:
    """`alpha I / mean(I) + beta mean(l) / l + gamma mean(e) / e` of every row, over all layers.

    Args:
        chip: Where they run.
        works: The layers.
        saliency: Layer -> what is lost with each row, (outputs,), 0 or more: any criterion's.
        weights: What counts how much.

    Raises:
        InputError: If a layer's saliency is missing or has another length.
    """
    for work in works:
        given = saliency.get(work.name)
        shape = None if given is None else np.asarray(given).shape
        if shape != (work.outputs,):
            raise InputError(f"{work.name} has {work.outputs} rows, and a saliency of shape {shape}")
    costs = [row_costs(chip, work) for work in works]
    lost = np.concatenate([np.asarray(saliency[work.name], dtype=np.float64) for work in works])
    ms, mj = (np.concatenate([getattr(each, name) for each in costs]) for name in ("ms", "mj"))
    small = np.zeros(len(lost), dtype=np.bool_)
    for weight, saved in ((weights.beta, ms), (weights.gamma, mj)):
        if weight:
            least = _LEAST_SHARE * saved.mean()
            small |= saved < least
            np.maximum(saved, least, out=saved)
    values = hardware_importance(lost.tolist(), ms.tolist(), mj.tolist(), weights)
    ends = np.cumsum([work.outputs for work in works])[:-1]
    parts = np.split(values, ends)
    return RowImportance({work.name: part for work, part in zip(works, parts, strict=True)}, int(small.sum()))
