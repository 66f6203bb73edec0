"""The loss of a step: cross-entropy or the user's own, and the teacher's part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.examples import labels_in

__all__ = ["Loss", "cross_entropy", "distillation"]

Loss = Callable[[Any, Any], Tensor]
"""An own loss of (model output, batch): a scalar."""

IGNORED = -100  # the label that torch's cross-entropy leaves out


def cross_entropy(logits: Tensor, batch: Any, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits (N, classes, ...) with the labels, the batch's second item, or its `labels`.

    Raises:
        InputError: If the batch has no labels, or there are not as many logits as the labels need.
    """
    labels = labels_in(batch)
    if labels is None:
        raise InputError("a training batch has no labels; give (images, labels) batches, or a loss of your own")
    if labels.dtype.is_floating_point or labels.ndim != logits.ndim - 1:
        raise InputError(
            f"labels are {labels.dtype} {tuple(labels.shape)} and outputs {tuple(logits.shape)}, which is no "
            "classification by class numbers; give a loss of your own"
        )
    wrong = labels[((labels < 0) & (labels != IGNORED)) | (labels >= logits.shape[1])]
    if len(wrong):
        raise InputError(f"a label is {int(wrong[0])} but the model has only {logits.shape[1]} outputs")
    return F.cross_entropy(logits.float(), labels.long(), label_smoothing=label_smoothing)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far the student is from the teacher's soft targets (Hinton, Vinyals, Dean 2015, section 2).

    T^2 * KL(softmax(teacher / T) || softmax(student / T)), the mean over the batch, and over the positions where there
    are several to classify, as in cross-entropy; T^2 keeps the gradients' size independent of the temperature.

    Args:
        student: Logits (N, classes, ...).
        teacher: Logits (N, classes, ...), without a gradient.
        temperature: T > 0.

    Raises:
        InputError: If the shapes differ.
    """
    if student.shape != teacher.shape:
        raise InputError(f"the student gives {tuple(student.shape)} but the teacher {tuple(teacher.shape)}")
    soft = F.log_softmax(teacher.float() / temperature, dim=1)
    own = F.log_softmax(student.float() / temperature, dim=1)
    return F.kl_div(own, soft, reduction="none", log_target=True).sum(1).mean() * temperature**2
