"""Named recipes: what fine-tuning learns from, and what it ends with. An option of the user's own wins over them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """Ingredients of a fine-tuning; 0 leaves one out.

    Attributes:
        label_smoothing: Share of the target that is spread over all classes; from scratch, too.
        distil: Share of the distillation from the dense network's outputs.
        distil_features: Weight of the distance to what the dense network's blocks give.
        ema: Decay of the average of the weights that the fine-tuning ends with.
        mixup: Alpha of the shares in which images are blended.
    """

    label_smoothing: float
    distil: float
    distil_features: float
    ema: float
    mixup: float


PRESETS = {
    "plain": Preset(label_smoothing=0.0, distil=0.0, distil_features=0.0, ema=0.0, mixup=0.0),
    "default": Preset(label_smoothing=0.1, distil=0.5, distil_features=0.0, ema=0.0, mixup=0.0),
    "strong": Preset(label_smoothing=0.1, distil=0.5, distil_features=1.0, ema=0.999, mixup=0.0),
}
"""By the names that `--recipe` takes."""
