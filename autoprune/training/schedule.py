"""The learning-rate schedule: a linear warm-up, then half a cosine."""

from __future__ import annotations

import math

from autoprune.training.settings import TrainSettings

__all__ = ["share_of_peak"]


def share_of_peak(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """The rate of optimiser step `step` (from 0) as a share of the peak: a line up, then half a cosine down to 0.

    During the w warm-up steps it is (step + 1) / (w + 1); then, with p = (step - w) / (all - w), it is
    (1 + cos(pi * p)) / 2 (Loshchilov and Hutter, ICLR 2017, equation 5, without restarts).
    """
    total = settings.epochs * steps_per_epoch
    # Very short trainings (a few epochs of fine-tuning) keep most of their steps for the descent.
    warmup = round(min(settings.warmup_epochs, settings.epochs / 3) * steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
