"""A budget kind as a package of somebody else's would add it, in one file: bytes of the weights on disk."""

from typing import ClassVar

from autoprune.cost import AdditiveCost, CostEntry
from autoprune.cost.metrics import Metric
from autoprune.cost.params import params_cost

NUMBER = 4  # bytes of a float32


class WeightBytes(Metric):
    """Bytes of all parameters in float32."""

    kind = "weight-bytes"
    unit = "B"
    label = "weights in bytes"
    key = "weight_bytes"
    units: ClassVar = {"b": 1.0, "kb": 1e3, "mb": 1e6}
    example = "50% or 100kB"

    def price(self, context, *, budgeted):
        entries = [
            CostEntry(e.name, e.scope, in_bytes(e.price)) for e in params_cost(context.analysis, context.space).entries
        ]
        return AdditiveCost(self.kind, self.unit, context.space, entries)

    def count(self, network, example, cost, batch):
        return float(NUMBER * sum(parameter.numel() for parameter in network.parameters()))

    def text(self, value):
        return f"{value:,.0f} bytes"


def in_bytes(price):
    return lambda kept: NUMBER * price(kept)
