"""The heads that answer at an exit: fixed pooling and one linear layer, trained on the frozen network's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.early_exit.confidence.learned import fit_scorer, new_scorer
from autoprune.errors import UnsupportedModelError
from autoprune.foundations.seeding import seeded

__all__ = ["ExitHead", "HeadTraining", "distilled_loss", "fit_head", "has_head"]

_SIDE = 4  # a map is pooled to so many cells along each dimension
_MOST = 16_384  # inputs of the linear layer
_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@dataclass(frozen=True)
class HeadTraining:
    """How heads are trained.

    Attributes:
        epochs: Passes over the cached values.
        batch: Samples a step.
        lr: Peak learning rate of Adam; it falls to 0 along a cosine.
        distil: Share of the loss that is the distance to the dense network's answer; the rest is to the labels.
        weight_decay: Of the linear layer.
        seed: Of the order.
    """

    epochs: int = 15
    batch: int = 256
    lr: float = 5e-3
    distil: float = 0.5
    weight_decay: float = 1e-3
    seed: int = 0


def _pooled_width(shape: Sequence[int]) -> int | None:
    """Numbers that the linear layer reads of a value with these sizes a sample; None of one that has no head."""
    if len(shape) == 1:
        return shape[0]
    if len(shape) == 2:
        return 2 * shape[1] + shape[0]
    if len(shape) in (3, 4):
        width = shape[0]
        for size in shape[1:]:
            width *= min(size, _SIDE)
        return width
    return None


def has_head(shape: Sequence[int]) -> bool:
    """Whether there is a head for a value with these sizes a sample."""
    width = _pooled_width(shape)
    return width is not None and 0 < width <= _MOST


class ExitHead(nn.Module):
    """Logits from a value inside the network.

    A map (N, C, H, W) is averaged to 4x4 cells, so that it is kept where things are; of tokens (N, T, C) the first one,
    their mean and the mean of each are taken; a vector (N, C) is taken as it is.

    Args:
        shape: Sizes of the value for one sample.
        classes: Logits.
        scored: Whether it has a scorer, which learns how likely the head is right.

    Raises:
        UnsupportedModelError: If there is no head for such a value.
    """

    def __init__(self, shape: Sequence[int], classes: int, *, scored: bool = False) -> None:
        super().__init__()
        width = _pooled_width(shape)
        if width is None or not 0 < width <= _MOST:
            raise UnsupportedModelError(f"there is no head for a value of shape {list(shape)} a sample")
        self.shape = tuple(shape)
        self.linear = nn.Linear(width, classes)
        self.scorer = new_scorer(classes) if scored else None

    def reduced(self, features: Tensor) -> Tensor:
        """(N, inputs of the linear layer) from a value (N, *shape)."""
        if len(self.shape) == 1:
            return features
        if len(self.shape) == 2:
            return torch.cat([features[:, 0], features.mean(1), features.mean(2)], 1)
        strides = [max(1, size // _SIDE) for size in self.shape[1:]]
        kernels = [s - (min(s, _SIDE) - 1) * stride for s, stride in zip(self.shape[1:], strides, strict=True)]
        return _POOLS[len(strides)](features, kernels, strides).flatten(1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, classes)."""
        logits: Tensor = self.linear(self.reduced(features))
        return logits


def fit_head(head: ExitHead, inputs: Tensor, dense: Tensor, labels: Tensor, training: HeadTraining) -> None:
    """Train a head's linear layer, and then its scorer where it has one; nothing else changes.

    The inputs are normalised for the training, and the normalisation is folded into the layer.

    Args:
        head: Trained in place.
        inputs: What `reduced` gave for each sample, float32 (N, inputs).
        dense: The dense network's logits, (N, classes).
        labels: int64 (N,).
        training: How.
    """
    mean, scale = inputs.mean(0), inputs.std(0, unbiased=False).clamp_min(1e-6)
    with seeded(training.seed):
        linear = nn.Linear(inputs.shape[1], dense.shape[1]).to(inputs.device)
        nn.init.zeros_(linear.weight)
        steps = max(1, training.epochs * -(-len(inputs) // training.batch))
        optimizer = torch.optim.AdamW(linear.parameters(), training.lr, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(training.epochs):
            for rows in torch.split(torch.randperm(len(inputs)), training.batch):
                logits = linear((inputs[rows] - mean) / scale)
                loss = distilled_loss(logits, dense[rows], labels[rows], training.distil)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    with torch.no_grad():
        weight = linear.weight / scale
        head.linear.weight.copy_(weight)
        head.linear.bias.copy_(linear.bias - weight @ mean)
        answers = head.linear(inputs)
    if head.scorer is not None:
        fit_scorer(head.scorer, answers, labels)


def distilled_loss(logits: Tensor, dense: Tensor, labels: Tensor, distil: float) -> Tensor:
    """Cross-entropy to the labels, and a share of the divergence from the dense network's answer, scalar.

    Args:
        logits: (N, classes).
        dense: The dense network's, (N, classes).
        labels: int64 (N,).
        distil: The share in [0, 1].
    """
    distance = functional.kl_div(logits.log_softmax(1), dense.log_softmax(1), log_target=True, reduction="batchmean")
    return distil * distance + (1 - distil) * functional.cross_entropy(logits, labels)
