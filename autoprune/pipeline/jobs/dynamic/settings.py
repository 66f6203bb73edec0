"""What `autoprune dynamic` is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.errors import InputError
from autoprune.run.experiment import BUDGETS

__all__ = ["DYNAMIC", "DynamicSettings", "dynamic_settings"]

DYNAMIC = "dynamic"
"""What runs with early exits have where others name their agent."""


@dataclass(frozen=True)
class DynamicSettings:
    """Limits of a network with early exits.

    Attributes:
        mean_latency: Largest mean time of a call: a share of the dense network's (`60%`) or a time (`2.5ms`); None for
            the least that the loss allows.
        worst: Longest path, likewise.
        p95: The time that 95 % of the inputs keep, likewise; None for any.
        max_drop: Accuracy that may be lost on new inputs, in percentage points: an upper confidence bound keeps it.
        exits: Most exits.
        head_epochs: Passes over the values that the heads are trained on.
        head_samples: Training samples that the heads learn from at most.

    Raises:
        InputError: If one of them cannot be what is meant.
    """

    mean_latency: str | None = None
    worst: str = "110%"
    p95: str | None = None
    max_drop: float = 0.5
    exits: int = 3
    head_epochs: int = 15
    head_samples: int = 20_000

    def __post_init__(self) -> None:
        for name, amount in (("mean-latency", self.mean_latency), ("worst", self.worst), ("p95", self.p95)):
            if amount is not None:
                _amount(name, amount)
        if not 0 <= self.max_drop < 100:
            raise InputError(f"--max-drop {self.max_drop:g}: write percentage points from 0 to below 100, such as 0.5")
        for name, value, most in (("exits", self.exits, 3), ("head-epochs", self.head_epochs, 10**4)):
            if not 1 <= value <= most:
                raise InputError(f"--{name} {value}: write a number from 1 to {most}")
        if self.head_samples < 1:
            raise InputError(f"--head-samples {self.head_samples}: heads learn from 1 sample or more")

    def limit_ms(self, name: str, dense: float) -> float | None:
        """A limit in milliseconds.

        Args:
            name: `mean_latency`, `worst` or `p95`.
            dense: The dense network's latency in milliseconds.
        """
        amount = getattr(self, name)
        if amount is None:
            return None
        number, is_share = _amount(name, amount)
        return number * dense if is_share else number

    def to_json(self) -> dict[str, Any]:
        """As files have them."""
        return asdict(self)


def _amount(name: str, text: str) -> tuple[float, bool]:
    """A share, or milliseconds; and whether it is a share."""
    words = str(text).strip()
    is_share = words.endswith("%")
    try:
        number = float(words.removesuffix("%") if is_share else words.removesuffix("ms"))
    except ValueError:
        number = math.nan
    if not (is_share or words.endswith("ms")) or not 0 < number < math.inf:
        raise InputError(f"--{name} {text}: write a share of the dense latency (60%) or a time (2.5ms)")
    return (number / 100 if is_share else number), is_share


def dynamic_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's settings of such a run, which has neither agent nor budget of its own.

    Raises:
        InputError: If a budget is given that only a search understands.
    """
    if any(settings.get(name) for name in BUDGETS):
        raise InputError("dynamic has no such budget; give mean_latency, worst, p95 and max_drop")
    return {**settings, "latency": "100%", "agent": DYNAMIC}
