"""How a network is brought to eight bits."""

from __future__ import annotations

from typing import Literal

from autoprune.run.settings.base import Settings, setting

__all__ = ["QuantizationSettings"]


class QuantizationSettings(Settings):
    """Integers of weights and activations, and what they may cost."""

    panel = "Quantization"

    tolerance: float = setting(
        0.3,
        "percentage points of accuracy on the search split that may be lost (of another score: percent of its value);"
        " beyond it other ranges are tried, then the layers that cost most stay float32",
        ge=0,
        lt=100,
    )
    types: str = setting(
        "auto",
        "integers of activations and weights: U8S8, U8S8 reduced (weights of 7 bits), S8S8, U8U8; auto: the fastest on"
        " the target within the tolerance",
    )
    scales: Literal["channel", "tensor"] = setting("channel", "scales of a weight: one for each output, or one")
    ranges: Literal["auto", "minmax", "percentile", "mse", "entropy"] = setting(
        "auto",
        "ranges of activations: minmax, all values; percentile, 99.99 % of them; mse, least squared error; entropy,"
        " least divergence; auto: minmax, and where that loses too much the best of all",
    )
    calibration_images: int = setting(256, "images that ranges are taken from", ge=1, le=10**6)
    qat: bool = setting(
        False,
        "also train with integers (--finetune-epochs), distilled from the dense network, zeros held; kept where it is"
        " not worse on the search split",
    )
    from_run: str | None = setting(None, "folder of a finished run, whose network is quantized")
