"""Latency: measured on the target, predicted by its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.metrics.base import Metric, Pricing, Session, Verdict
from autoprune.errors import AutopruneError
from autoprune.foundations.numbers import milliseconds

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Latency"]


class Latency(Metric):
    """Milliseconds of one call. A share is a share of the dense network as timed in the same session."""

    kind = "latency"
    unit = "ms"
    label = "latency in ms"
    key = "latency_ms"
    units: ClassVar[Mapping[str, float]] = {"ms": 1.0, "us": 1e-3, "s": 1e3}
    example = "50% or 2.5ms"
    timed = True
    how = "measured"
    prefixes = False

    def price(self, context: Pricing, *, budgeted: bool) -> AdditiveCost:
        """The target's latency table as a cost."""
        return context.latency()

    def count(self, network: nn.Module, example: Any, cost: AdditiveCost, batch: int) -> float:
        """Nothing to count: a latency is measured.

        Raises:
            AutopruneError: Always.
        """
        raise AutopruneError("a latency is measured, not counted")

    def judge(self, session: Session) -> Verdict:
        """What the target measured."""
        return Verdict(session.timing.ms, float(session.timing.limit_ms or 0.0), self.how)

    def text(self, value: float) -> str:
        """Three significant digits: `0.361 ms`."""
        return f"{milliseconds(value)} ms"
