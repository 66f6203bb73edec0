"""What a network may cost: a budget as the user asks for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from autoprune.cost.metrics import METRICS, metric_of
from autoprune.errors import InputError

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget:
    """A limit on one cost, as a share of the dense network's or in absolute terms.

    Attributes:
        kind: Which cost is limited.
        requested: The user's own words, such as `50%` or `2.5ms`.
        amount: A share in (0, 1] if `relative`, else the limit in the cost's unit
            (milliseconds, multiply-accumulates, parameters, millijoules).
        relative: Whether `amount` is a share of the dense network's cost.
    """

    kind: str
    requested: str
    amount: float
    relative: bool

    @classmethod
    def parse(cls, kind: str, text: str) -> Budget:
        """A budget from its kind and amount.

        >>> Budget.parse("latency", "50%").limit(dense=3.0)
        1.5
        >>> Budget.parse("flops", "1.2G").limit(dense=0.0)
        1200000000.0

        Raises:
            InputError: If the kind is unknown or the amount cannot be read or is not positive.
        """
        if kind not in METRICS:
            raise InputError(f"unknown budget {kind!r}; known: {', '.join(METRICS)}")
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z%]*)\s*", text.lower())
        metric = metric_of(kind)
        if match is None or (match[2] != "%" and match[2] not in metric.units):
            raise InputError(f"cannot read the {kind} budget {text!r}; write for example {metric.example}")
        number, unit = float(match[1]), match[2]
        if not np.isfinite(number) or number <= 0 or (unit == "%" and number > 100):
            raise InputError(f"the {kind} budget must be above 0 and at most 100%, not {text!r}")
        amount = number / 100 if unit == "%" else number * metric.units[unit]
        return cls(kind, text.strip(), amount, unit == "%")

    @classmethod
    def from_text(cls, text: str) -> Budget:
        """A budget written as one string, such as `latency<=50%`."""
        kind, sign, amount = text.partition("<=")
        if not sign:
            raise InputError(f"cannot read the budget {text!r}; write for example 'latency<=50%'")
        return cls.parse(kind.strip().lower(), amount)

    def limit(self, dense: float) -> float:
        """The limit in the cost's unit, given the dense network's cost."""
        return self.amount * dense if self.relative else self.amount

    def __str__(self) -> str:
        return f"{self.kind}<={self.requested}"
