"""What a training step minimises: the loss, and what is learned from a teacher; on blended images where wanted."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.examples import labels_in
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models.inputs.example import Example
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.layout import Layout, arranged
from autoprune.models.outputs import in_float32, output_of
from autoprune.models.own_loss import own_loss
from autoprune.models.precision import autocast, device_of
from autoprune.training.ingredients.features import FeatureDistillation
from autoprune.training.ingredients.mixup import Mixture
from autoprune.training.ingredients.scales import trained_scales
from autoprune.training.losses import Loss, cross_entropy, distillation
from autoprune.training.settings import TrainSettings

__all__ = ["Objective"]


class Objective:
    """The loss of a batch, a scalar with a gradient.

    Args:
        model: The network in training.
        settings: Weights of the parts, precision.
        layout: Of image tensors.
        teacher: Its outputs on the same batch are learned from too.
        features: So are its blocks' outputs; of this model and this teacher.
        loss: Own loss of (model output, batch) in place of cross-entropy.
        reader: Which parts of a batch are the inputs.

    Raises:
        InputError: If mixup is asked for with an own loss, whose labels nobody can blend.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        layout: Layout,
        *,
        teacher: nn.Module | None = None,
        loss: Loss | None = None,
        reader: BatchReader = AS_IT_COMES,
        features: FeatureDistillation | None = None,
    ) -> None:
        if settings.mixup and loss is not None:
            raise InputError(
                "--mixup blends the labels of classes, and an own loss has labels of its own; leave it out"
            )
        self.model, self.settings, self.layout = model, settings, layout
        self.teacher, self.loss, self.reader, self.features = teacher, loss, reader, features
        self.device = device_of(model)
        self._network = UserCode(f"the network {path_of(model)}")
        self._scales = trained_scales(model) if settings.slim else []

    def images(self, batch: Any) -> int:
        """Images in a batch."""
        return self.reader.call(self.model, batch).batch

    def of(self, batch: Any, mixture: Mixture | None = None) -> Tensor:
        """The objective on a batch, which lies on the model's device.

        Args:
            batch: What the loader gives.
            mixture: How its images are blended; None leaves them as they are.
        """
        settings = self.settings
        with self._watching("student"):
            output = self._output(self.model, batch, mixture)
        loss = self._own(output, batch, mixture)
        if self._scales:
            loss = loss + settings.slim * torch.stack([scale.abs().sum() for scale in self._scales]).sum()
        if self.teacher is None or not (settings.distil_weight or self.features):
            return loss
        with torch.no_grad(), self._watching("teacher"):
            target = self._output(self.teacher, batch, mixture)
        if settings.distil_weight:
            soft = distillation(output_of(output), output_of(target), settings.temperature)
            loss = (1 - settings.distil_weight) * loss + settings.distil_weight * soft
        return loss if self.features is None else loss + settings.feature_weight * self.features.distance()

    def _watching(self, which: str) -> AbstractContextManager[None]:
        return nullcontext() if self.features is None else self.features.watching(which)

    def _output(self, model: nn.Module, batch: Any, mixture: Mixture | None) -> Any:
        inputs = self._inputs(model, batch)
        blended = inputs if mixture is None else mixture.blended(inputs)
        with autocast(self.device, self.settings.bf16), self._network:
            return blended.run(model)

    def _inputs(self, model: nn.Module, batch: Any) -> Example:
        """The call that a batch makes, its images in the layout of this training."""
        return self.reader.call(model, batch).map(lambda tensor: arranged(tensor, self.layout))

    def _own(self, output: Any, batch: Any, mixture: Mixture | None) -> Tensor:
        """The loss without a teacher."""
        if self.loss is not None:
            return own_loss(self.loss, in_float32(output), batch)  # not every loss of torch's mixes number formats
        logits, smoothing = output_of(output), self.settings.label_smoothing
        loss = cross_entropy(logits, batch, label_smoothing=smoothing)
        labels = labels_in(batch)
        if mixture is None or labels is None:
            return loss
        others = (None, labels[mixture.partner.to(labels.device)])
        return mixture.share * loss + (1 - mixture.share) * cross_entropy(logits, others, label_smoothing=smoothing)
