"""Training: stochastic gradient descent with a cosine, label smoothing and distillation, resumable by epoch."""

from autoprune.training.losses import Loss, cross_entropy, distillation
from autoprune.training.schedule import learning_rate
from autoprune.training.settings import TrainSettings
from autoprune.training.trainer import EpochResult, Trainer, count_batches, train

__all__ = [
    "EpochResult",
    "Loss",
    "TrainSettings",
    "Trainer",
    "count_batches",
    "cross_entropy",
    "distillation",
    "learning_rate",
    "train",
]
