"""Do the user's score and loss work?"""

from __future__ import annotations

from typing import Any

import torch

from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.foundations.examples import labels_in
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models import device_of, in_mode, output_of
from autoprune.models.layout import arranged, chosen_layout, in_layout
from autoprune.models.outputs import in_float32, moved, with_changed_tensors
from autoprune.models.own_loss import own_loss
from autoprune.models.precision import autocast
from autoprune.pipeline.preflight.base import Check, Subject
from autoprune.pipeline.preflight.reading import FEW, randomness_kept
from autoprune.training.losses import cross_entropy

__all__ = ["LossWithGradient", "Score"]


class Score(Check):
    """The score is a finite number on the search and on the test split."""

    what = "the score"

    def run(self, subject: Subject) -> None:
        """On little; where that fails, which may be for its images, on the whole split as the job will."""
        for part in ("search", "test"):
            with randomness_kept(getattr(subject.task.data, part)):
                try:
                    subject.task.score(subject.model, [self._few(subject, part)])
                except InputError:
                    subject.task.score(subject.model, self._more(subject, part))

    def _few(self, subject: Subject, part: str) -> Any:
        """The first batch; for the accuracy, which asks nothing of the others, a few of its images."""
        batch = subject.batches[part]
        if subject.task.evaluate is not accuracy:
            return batch
        labels = labels_in(batch)
        images = 0 if labels is None else len(labels)
        return with_changed_tensors(batch, lambda each: each[:FEW] if each.ndim and len(each) == images else each)

    def _more(self, subject: Subject, part: str) -> Any:
        """The whole first batch for the accuracy, the whole split for a score of the user's own."""
        if subject.task.evaluate is accuracy:
            return [subject.batches[part]]
        return subject.task.search_parts[0] if part == "search" else subject.task.data.test


class LossWithGradient(Check):
    """The loss of a training batch is a finite number, and its backward pass reaches the weights."""

    what = "the loss, forward and backward"

    def concerns(self, subject: Subject) -> bool:
        """Only where something is trained, and something can be."""
        return subject.trains and any(parameter.requires_grad for parameter in subject.task.model.parameters())

    def run(self, subject: Subject) -> None:
        """As a training step does it, without the step."""
        model, device = subject.model, device_of(subject.model)
        batch, layout = moved(subject.batches["train"], device), chosen_layout(device, None)
        network = UserCode(f"the network {path_of(subject.task.model)}, in training mode,")
        inputs = subject.task.reader.call(model, batch).map(lambda tensor: arranged(tensor, layout))
        with in_mode(model, train=True), randomness_kept(), in_layout(layout), torch.enable_grad():
            with autocast(device, None), network:
                output = inputs.run(model)
            if subject.task.loss is None:
                loss = cross_entropy(output_of(output), batch)
            else:
                loss = own_loss(subject.task.loss, in_float32(output), batch)
            if not bool(torch.isfinite(loss)):
                raise InputError(f"the loss of the first training batch is {float(loss.detach())}, before any training")
            with network:
                loss.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
