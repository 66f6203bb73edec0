"""How a network is trained: the settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from autoprune.errors import InputError

__all__ = ["TrainSettings"]

_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "epochs": ("a whole number from 0", lambda value: value >= 0 and value == int(value)),
    "clip": ("above 0", lambda value: value > 0),
    "lr": ("above 0", lambda value: value > 0),
    "momentum": ("from 0 to below 1", lambda value: 0 <= value < 1),
    "weight_decay": ("at least 0", lambda value: value >= 0),
    "label_smoothing": ("from 0 to below 1", lambda value: 0 <= value < 1),
    "warmup_epochs": ("at least 0", lambda value: value >= 0),
    "distil_weight": ("from 0 to 1", lambda value: 0 <= value <= 1),
    "temperature": ("above 0", lambda value: value > 0),
    "feature_weight": ("at least 0", lambda value: value >= 0),
    "slim": ("at least 0", lambda value: value >= 0),
    "ema": ("from 0 to below 1", lambda value: 0 <= value < 1),
    "mixup": ("at least 0", lambda value: value >= 0),
    "seed": ("a whole number from 0", lambda value: value >= 0 and value == int(value)),
}


@dataclass(frozen=True)
class TrainSettings:
    """An optimiser, a cosine, label smoothing and distillation.

    Attributes:
        epochs: Passes over the training split.
        optimizer: `sgd` (with Nesterov momentum), `adamw`, or `package.module:name` of the user's own.
        lr: Learning rate at its peak, for the batch size that is used (0.1 for batches of 128 from scratch); None
            leaves it to the optimiser.
        momentum: Nesterov momentum of `sgd`, in [0, 1); 0 is plain gradient descent.
        weight_decay: Factor of the squared-weights penalty, or what AdamW takes off; None leaves it to the optimiser.
        clip: Largest norm of the gradient of a step, to which a larger one is scaled; None does not clip.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        warmup_epochs: Epochs, fractions allowed, over which the rate rises from near 0; at most a third of all.
        distil_weight: Share of the distillation loss in [0, 1]; counts only with a teacher.
        temperature: Of the distillation's soft targets.
        feature_weight: Weight of the distance of features; counts only where the trainer is given which.
        ema: Decay of the average of the weights that the training ends with, in [0, 1); 0 ends with the last weights.
        slim: Factor of the sum of |scale| over all BatchNorms, which draws the scales of units that matter little to 0.
        mixup: Alpha of the shares in which images are blended in pairs; 0 blends none.
        bf16: Compute in bfloat16; None where the processor has instructions for it.
        channels_last: Keep image tensors as NHWC in memory; None where bfloat16 is native. In float32 on a CPU only
            where that is sound (`autoprune.models.layout`).
        seed: Of whatever the model itself draws (dropout); the batches have their own.
        fused: Update all weights in one kernel where torch has one for them; the same but for rounding.

    Raises:
        InputError: If a value is out of its range; the message names all that are.
    """

    epochs: int = 30
    optimizer: str = "sgd"
    lr: float | None = 0.1
    momentum: float = 0.9
    weight_decay: float | None = 5e-4
    clip: float | None = None
    label_smoothing: float = 0.1
    warmup_epochs: float = 1.0
    distil_weight: float = 0.5
    temperature: float = 4.0
    feature_weight: float = 0.0
    ema: float = 0.0
    mixup: float = 0.0
    slim: float = 0.0
    bf16: bool | None = None
    channels_last: bool | None = None
    seed: int = 0
    fused: bool = False

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value} but must be {ought}"
            for name, (ought, holds) in _RANGES.items()
            if (value := getattr(self, name)) is not None and not (math.isfinite(value) and holds(value))
        ]
        if wrong:
            raise InputError("training settings: " + "; ".join(wrong))
