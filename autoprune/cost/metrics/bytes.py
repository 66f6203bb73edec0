"""Bytes of the weights in a file: counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.metrics.base import Metric, Pricing

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Bytes"]


class Bytes(Metric):
    """Bytes of all parameters as float32; weights that are 2:4 count as the layout `compressed` writes them.

    Buffers and the file's own names are not counted. Zeros that are not 2:4 take as many bytes as any other number.
    """

    kind = "bytes"
    unit = "B"
    label = "bytes of weights"
    units: ClassVar[Mapping[str, float]] = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
    example = "50% or 100kB"

    def price(self, context: Pricing, *, budgeted: bool) -> AdditiveCost:
        """Exact but for less than a byte for each weight that is 2:4."""
        from autoprune.cost.params import bytes_cost

        return bytes_cost(context.analysis, context.space, context.effects)

    def count(self, network: nn.Module, example: Any, cost: AdditiveCost, batch: int) -> float:
        """Of the network itself, in the dense layout."""
        from autoprune.cost.params import NUMBER
        from autoprune.models.sizes import parameter_count

        return float(NUMBER * parameter_count(network))

    def text(self, value: float) -> str:
        """Whole: `67,136 bytes`."""
        return f"{value:,.0f} bytes"
