"""Multiply-accumulates: counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.metrics.base import Metric, Pricing, analysed
from autoprune.foundations.numbers import count

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Flops"]


class Flops(Metric):
    """Multiply-accumulates of one input, which papers call FLOPs."""

    kind = "flops"
    unit = "MACs"
    label = "multiply-accumulates"
    always = True

    def price(self, context: Pricing, *, budgeted: bool) -> AdditiveCost:
        """Exact for every policy."""
        from autoprune.cost.macs import macs_cost

        return macs_cost(context.analysis, context.space, context.effects)

    def count(self, network: nn.Module, example: Any, cost: AdditiveCost, batch: int) -> float:
        """Of every convolution and linear layer."""
        return float(analysed(network, example).macs({}))

    def text(self, value: float) -> str:
        """With its prefix: `20.3 M MACs`."""
        return f"{count(value)} MACs"
