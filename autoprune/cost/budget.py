"""What a network may cost: a budget as the user asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autoprune.cost.metrics import METRICS, Metric, metric_of
from autoprune.errors import InputError

__all__ = ["Budget", "parsed_budgets"]


@dataclass(frozen=True)
class Budget:
    """A limit on one cost, as a share of the dense network's or in absolute terms.

    Attributes:
        kind: Which cost is limited.
        target: Where it is measured, if not on the run's own target: `openvino`.
        requested: The user's own words, such as `50%` or `2.5ms`.
        amount: A share in (0, 1] if `relative`, else the limit in the cost's unit
            (milliseconds, multiply-accumulates, parameters, millijoules).
        relative: Whether `amount` is a share of the dense network's cost.
    """

    kind: str
    requested: str
    amount: float
    relative: bool
    target: str = ""

    @classmethod
    def parse(cls, kind: str, text: str) -> Budget:
        """A budget from its kind and amount; a kind that is timed may name another target (`latency@openvino`).

        >>> Budget.parse("latency", "50%").limit(dense=3.0)
        1.5
        >>> Budget.parse("flops", "1.2G").limit(dense=0.0)
        1200000000.0

        Raises:
            InputError: If the kind is unknown or the amount cannot be read or is not positive, or a target is named for
                what is the same on all.
        """
        kind, at, target = kind.strip().partition("@")
        kind = kind.lower()
        if kind not in METRICS:
            raise InputError(f"unknown budget {kind!r}; known: {', '.join(METRICS)}")
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z%]*)\s*", text.lower())
        metric = metric_of(kind)
        if at and (not metric.timed or not target):
            raise InputError(f"{kind}@{target} names no budget: only what is timed is one of a target, latency@TARGET")
        if match is None or (match[2] != "%" and match[2] not in metric.units):
            raise InputError(f"cannot read the {kind} budget {text!r}; write for example {metric.example}")
        number, unit = float(match[1]), match[2]
        if not np.isfinite(number) or number <= 0 or (unit == "%" and number > 100):
            raise InputError(f"the {kind} budget must be above 0 and at most 100%, not {text!r}")
        amount = number / 100 if unit == "%" else number * metric.units[unit]
        return cls(kind, text.strip(), amount, unit == "%", target)

    @property
    def name(self) -> str:
        """What tells it from the others of a run: its kind, and its target if it has one of its own."""
        return f"{self.kind}@{self.target}" if self.target else self.kind

    @property
    def metric(self) -> Metric:
        """Of its kind."""
        return metric_of(self.kind)

    @classmethod
    def from_text(cls, text: str) -> Budget:
        """A budget written as one string, such as `latency<=50%`."""
        kind, sign, amount = text.partition("<=")
        if not sign:
            raise InputError(f"cannot read the budget {text!r}; write for example 'latency<=50%'")
        return cls.parse(kind, amount)

    def limit(self, dense: float) -> float:
        """The limit in the cost's unit, given the dense network's cost."""
        return self.amount * dense if self.relative else self.amount

    def __str__(self) -> str:
        return f"{self.name}<={self.requested}"


def parsed_budgets(requested: Iterable[tuple[str, str]]) -> tuple[Budget, ...]:
    """The budgets of a run, all of which have to be met.

    Raises:
        InputError: If one of them cannot be read, or two are of the same name.
    """
    budgets = tuple(Budget.parse(kind, amount) for kind, amount in requested)
    names = [budget.name for budget in budgets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"there are two budgets of {twice[0]}; one of each")
    return budgets
