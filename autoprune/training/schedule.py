"""The learning-rate schedule: a linear warm-up, then half a cosine."""

from __future__ import annotations

import math

from autoprune.training.settings import TrainSettings

__all__ = ["learning_rate"]


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """The rate of optimiser step `step` (from 0): a line up to the peak, then half a cosine down to 0.

    During the w warm-up steps it is lr * (step + 1) / (w + 1); then, with p = (step - w) / (all - w), it is
    lr * (1 + cos(pi * p)) / 2 (Loshchilov and Hutter, ICLR 2017, equation 5, without restarts).
    """
    total = settings.epochs * steps_per_epoch
    # Very short trainings (a few epochs of fine-tuning) keep most of their steps for the descent.
    warmup = round(min(settings.warmup_epochs, settings.epochs / 3) * steps_per_epoch)
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    return settings.lr * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
