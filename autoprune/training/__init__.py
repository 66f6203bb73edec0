"""Training: an optimiser with a cosine, label smoothing and distillation, resumable by epoch."""

from autoprune.training.losses import Loss, cross_entropy, distillation
from autoprune.training.recipe import Recipe
from autoprune.training.schedule import share_of_peak
from autoprune.training.settings import TrainSettings
from autoprune.training.trainer import EpochResult, Trainer, count_batches, train

__all__ = [
    "EpochResult",
    "Loss",
    "Recipe",
    "TrainSettings",
    "Trainer",
    "count_batches",
    "cross_entropy",
    "distillation",
    "share_of_peak",
    "train",
]
