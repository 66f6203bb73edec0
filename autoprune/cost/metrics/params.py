"""Parameters: counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.metrics.base import Metric, Pricing
from autoprune.foundations.numbers import count

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Params"]


class Params(Metric):
    """Number of parameters; buffers such as running means do not count."""

    kind = "params"
    unit = "parameters"
    label = "parameters"
    always = True

    def price(self, context: Pricing, *, budgeted: bool) -> AdditiveCost:
        """Exact for every policy."""
        from autoprune.cost.params import params_cost

        return params_cost(context.analysis, context.space)

    def count(self, network: nn.Module, example: Any, cost: AdditiveCost, batch: int) -> float:
        """Of the network itself."""
        from autoprune.models.sizes import parameter_count

        return float(parameter_count(network))

    def text(self, value: float) -> str:
        """With its prefix: `67.1 k parameters`."""
        return f"{count(value)} parameters"
