"""The contract of a candidate's weights: what a cut network gets before it is scored or fine-tuned.

A raw cut says little about what its policy is worth: at half of every width ResNet-20 on Fashion-MNIST classifies
almost by chance, whatever the policy. What is done about it is fitted once to the trained dense network, then asked for
every candidate of a search and for the networks that are fine-tuned, so it has to be fast. Its name is what
`--candidate-weights` takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.reconstruction.refit import Refit

__all__ = ["CandidateWeights", "Recalibrated", "Reconstructed", "Slices"]

Slices = Mapping[str, Sequence[tuple[int, Tensor]]]
"""Tensor name -> [(dimension, kept positions)], as `autoprune.graph.index_map` gives it."""


class CandidateWeights(ABC):
    """Gives a cut network the weights that it is scored with.

    Args:
        model: The trained dense network; stays as it is.
        calibration: Batches of the training distribution, without augmentation; gone through again.
        reader: Which parts of a batch are the inputs.
    """

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, model: nn.Module, calibration: Iterable[Any], reader: BatchReader = AS_IT_COMES) -> None: ...

    @abstractmethod
    def prepare(self, small: nn.Module, slices: Slices) -> None:
        """Change a cut network in place, the same way whenever it is asked.

        Args:
            small: The raw cut, masks included; its tensors may be replaced, and must not be written into.
            slices: Where its tensors come from in the dense ones.
        """


class Recalibrated(CandidateWeights):
    """BatchNorm statistics of the cut network itself (EagleEye; Li et al., ECCV 2020); weights stay."""

    name = "recalibrated"

    def __init__(self, model: nn.Module, calibration: Iterable[Any], reader: BatchReader = AS_IT_COMES) -> None:
        self._calibration, self._reader = list(calibration), reader

    def prepare(self, small: nn.Module, slices: Slices) -> None:
        """Re-estimate the statistics."""
        reestimate_batch_norm(small, self._calibration, reader=self._reader)


class Reconstructed(CandidateWeights):
    """Every layer refitted by least squares to what the dense layer gave; see `autoprune.reconstruction.refit`.

    BatchNorm keeps the dense network's statistics, since its inputs are fitted to the dense network's. That scores
    higher than statistics re-estimated after the fit.
    """

    name = "reconstructed"

    def __init__(self, model: nn.Module, calibration: Iterable[Any], reader: BatchReader = AS_IT_COMES) -> None:
        self._refit = Refit(model, calibration, reader=reader)

    def prepare(self, small: nn.Module, slices: Slices) -> None:
        """Refit all layers."""
        self._refit(small, slices)
