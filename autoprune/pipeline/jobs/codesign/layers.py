"""The layers of a network as accelerators see them: which decisions they follow, and their masks at every option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.graph import Analysis
from autoprune.hardware.accelerators import LayerWork, Workload
from autoprune.masks.groups.base import as_matrix
from autoprune.pipeline.task import Task
from autoprune.space import SearchSpace
from autoprune.techniques.sparsity.kept import Kept
from autoprune.techniques.sparsity.saliency import RankedWeights
from autoprune.techniques.sparsity.tensors import Weight, weights_of
from autoprune.techniques.stack import Stack

__all__ = ["Layers", "calls_of", "layers_of", "masks_of_policy", "unpriced", "works_under"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a network.

    Attributes:
        decided: Decision -> the layers that read its weight.
        fixed: Those that stay dense.
        masks: Decision -> the mask of each option as a matrix (outputs, inputs).
    """

    decided: Mapping[str, Sequence[LayerWork]]
    fixed: Sequence[LayerWork]
    masks: Mapping[str, Sequence[Mask]]

    def at(self, name: str, option: int) -> list[LayerWork]:
        """The layers of a decision under the mask of an option."""
        return [work.with_mask(self.masks[name][option]) for work in self.decided[name]]


def calls_of(task: Task) -> object:
    """What the network is given of the first calibration batch, whose activations are sampled."""
    first = next(iter(task.data.calibration))
    return task.reader.call(task.model, first).plain


def unpriced(analysis: Analysis, workload: Workload) -> dict[str, str]:
    """Weights whose zeros no chip can make use of: no priced layer reads them as they lie. Name -> reason."""
    read = {work.weight: work for work in workload}
    transposed = {name for op in analysis.ops if op.transposed for name in op.tensors[:1]}
    found = {}
    for name, weight in weights_of(analysis).weights.items():
        if name not in read:
            found[name] = "no layer that accelerators price reads it"
        elif name in transposed or _matrix_shape(weight) != read[name].mask.shape:
            found[name] = "accelerators see its matrix otherwise than patterns do"
    return found


def _matrix_shape(weight: Weight) -> tuple[int, int]:
    planes, outputs, inputs = weight.shape
    return outputs, planes * inputs


def layers_of(workload: Workload, space: SearchSpace, stack: Stack) -> Layers:
    """The layers, with the masks that every option of every decision gives them."""
    decided: dict[str, list[LayerWork]] = {name: [] for name in space.names}
    fixed = []
    for work in workload:
        if work.weight in decided:
            decided[work.weight].append(work)
        else:
            fixed.append(work)
    technique, fitted = _technique(stack)
    masks = {
        d.name: [_matrix(fitted.weights[d.name], technique, fitted, kept) for kept in d.options]
        for d in space.decisions
    }
    return Layers(decided, fixed, masks)


def works_under(layers: Layers, space: SearchSpace, choices: Mapping[str, int]) -> list[LayerWork]:
    """All layers under the masks of a policy; the sample of activations is the dense network's."""
    options = {d.name: d.options.index(choices[d.name]) for d in space.decisions}
    return [*layers.fixed, *(work for name, option in options.items() for work in layers.at(name, option))]


def masks_of_policy(stack: Stack, choices: Mapping[str, int]) -> dict[str, Tensor]:
    """Name of a weight -> its mask, bool, shaped as it; of those that are not whole."""
    technique, fitted = _technique(stack)
    found = {}
    for name, kept in choices.items():
        weight = fitted.weights[name]
        if kept != technique.options_of(weight)[-1]:
            mask = fitted.mask(name, technique.pattern(weight, kept, {}))
            if mask is not None:
                found[name] = mask
    return found


def _matrix(weight: Weight, technique: Kept, fitted: RankedWeights, kept: int) -> Mask:
    if kept == technique.options_of(weight)[-1]:
        return np.ones(_matrix_shape(weight), dtype=np.bool_)
    mask = fitted.mask(weight.name, technique.pattern(weight, kept, {}))
    if mask is None:
        return np.ones(_matrix_shape(weight), dtype=np.bool_)
    found: Mask = as_matrix(weight.planes.of(mask)).numpy()
    return found


def _technique(stack: Stack) -> tuple[Kept, RankedWeights]:
    technique = stack.techniques[0]
    fitted = stack.fitted.get(technique.name)
    if not isinstance(technique, Kept) or not isinstance(fitted, RankedWeights):
        raise AutopruneError("a search for an accelerator has the technique 'kept' alone, fitted")
    return technique, fitted
