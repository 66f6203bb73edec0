"""From the sum of a table's entries to the latency of a network: factors that are fitted on end-to-end runs.

A layer that is timed alone, again and again, finds its weights in the core's own cache; in a network they come from
further away. So beside a factor for every class of layers there is a price for the weights that must be fetched: it
takes a quarter of the error away for MobileNetV2 at 32x32 on onnxruntime, nothing for ResNet-20, whose weights stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.hardware.contract.layer import Layer

__all__ = ["GROUPS", "LOADS", "Run", "loads_of"]

_FORMS = ("1x1", "3x3", "depthwise", "other")
GROUPS = (*_FORMS, *(f"int8 {form}" for form in _FORMS), "border")
LOADS = ("weights",)
_CACHED = 32_768  # weights of one layer that stay in a core's cache while it is timed alone (128 KiB in float32)


@dataclass(frozen=True)
class Run:
    """One network that was timed end to end.

    Attributes:
        choices: Its policy.
        ms: Measured milliseconds.
        spread: Relative spread of the measurement.
        role: `fit` (the correction was fitted on it), `held-out` (the error was computed on it) or `search` (measured
            later and used for a refit).
        conditions: Under which it was timed; see `Measurement.stored_conditions`.
    """

    choices: dict[str, int]
    ms: float
    spread: float
    role: str
    conditions: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        figures = {"choices": dict(self.choices), "ms": self.ms, "spread": self.spread, "role": self.role}
        return {**figures, "conditions": dict(self.conditions)}


def loads_of(layer: Layer) -> tuple[float]:
    """Millions of weights that a layer fetches in a network, and not when it is timed alone."""
    weights = min(math.prod(layer.weight_shape), _CACHED) if layer.kind in ("conv", "linear") else 0
    return (weights * 1e-6,)
