"""The contract of a candidate's weights: what a cut network gets before it is scored or fine-tuned.

A raw cut says little about what its policy is worth: at half of every width ResNet-20 on Fashion-MNIST classifies
almost by chance, whatever the policy. What is done about it is fitted once to the trained dense network, then asked for
every candidate of a search and for the networks that are fine-tuned, so it has to be fast. Its name is what
`--candidate-weights` takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.graph.surgery.slicer import take
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.reconstruction.refit import Refit

__all__ = ["CandidateWeights", "Elastic", "Fitting", "Recalibrated", "Reconstructed", "Slices"]

Slices = Mapping[str, Sequence[tuple[int, Tensor]]]
"""Tensor name -> [(dimension, kept positions)], as `autoprune.graph.index_map` gives it."""


def _no_training() -> Mapping[str, Tensor]:
    raise InputError("a network of all widths needs training data; use other candidates' weights")


@dataclass(frozen=True)
class Fitting:
    """What candidates' weights are made from.

    Attributes:
        model: The trained dense network; stays as it is.
        calibration: Batches of the training distribution, without augmentation; may be gone through several times.
        reader: Which parts of a batch are the inputs.
        all_widths: Tensors of a copy of the dense network that was trained as a network of all widths, by name; trains
            it when it is first asked.
    """

    model: nn.Module
    calibration: Iterable[Any]
    reader: BatchReader = AS_IT_COMES
    all_widths: Callable[[], Mapping[str, Tensor]] = _no_training


class CandidateWeights(ABC):
    """Gives a cut network the weights that it is scored with.

    Args:
        given: What they are made from.
    """

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, given: Fitting) -> None: ...

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

    def __init__(self, given: Fitting) -> None:
        self._calibration, self._reader = list(given.calibration), given.reader

    def prepare(self, small: nn.Module, slices: Slices) -> None:
        """Re-estimate the statistics."""
        reestimate_batch_norm(small, self._calibration, reader=self._reader)


class Reconstructed(CandidateWeights):
    """Every layer refitted by least squares to what the dense layer gave; see `autoprune.reconstruction.refit`.

    BatchNorm keeps the dense network's statistics, since its inputs are fitted to the dense network's. That scores
    higher than statistics re-estimated after the fit.
    """

    name = "reconstructed"

    def __init__(self, given: Fitting) -> None:
        self._refit = Refit(given.model, given.calibration, reader=given.reader)

    def prepare(self, small: nn.Module, slices: Slices) -> None:
        """Refit all layers."""
        self._refit(small, slices)


class Elastic(CandidateWeights):
    """Cut from a copy of the dense network that was trained as a network of all widths; BatchNorm re-estimated.

    The training is `autoprune.training.elastic`'s (Yu and Huang, ICCV 2019). The dense network itself stays as it is.
    Weights that are exactly zero stay zero, so that masks survive.
    """

    name = "elastic"

    def __init__(self, given: Fitting) -> None:
        self._tensors = dict(given.all_widths())
        self._calibration, self._reader = list(given.calibration), given.reader

    def prepare(self, small: nn.Module, slices: Slices) -> None:
        """Take every parameter from the trained copy, then re-estimate the statistics."""
        for name, parameter in small.named_parameters():
            if name in self._tensors:
                parameter.data = self._taken(parameter.detach(), self._tensors[name], slices.get(name, ()))
        reestimate_batch_norm(small, self._calibration, reader=self._reader)

    def _taken(self, own: Tensor, whole: Tensor, places: Sequence[tuple[int, Tensor]]) -> Tensor:
        taken = take(whole, places).to(own)
        if taken.shape != own.shape:  # a technique has changed more than widths
            return own
        return taken * (own != 0) if own.dim() > 1 else taken
