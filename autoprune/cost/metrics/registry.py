"""The kinds of budget by name; imported when they are asked for, and open to other packages."""

from __future__ import annotations

from autoprune.cost.metrics.base import Metric
from autoprune.foundations.registry import Registry

__all__ = ["METRICS", "metric_of"]

METRICS: Registry[type[Metric]] = Registry(
    "budget kind",
    {
        "latency": "autoprune.cost.metrics.latency:Latency",
        "flops": "autoprune.cost.metrics.flops:Flops",
        "params": "autoprune.cost.metrics.params:Params",
        "bytes": "autoprune.cost.metrics.bytes:Bytes",
        "energy": "autoprune.cost.metrics.energy:Energy",
    },
    "autoprune.metrics",
)
"""Budget kinds by the name that users write: `latency<=50%`."""


def metric_of(kind: str) -> Metric:
    """The metric of a budget kind.

    Raises:
        InputError: If there is none of that name.
    """
    return METRICS.get(kind)()
