"""What policies cost in the budget's unit, and what a finished network really costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from autoprune.cost import AdditiveCost
from autoprune.llm.search.budget import LanguageBudget
from autoprune.llm.search.counted import bytes_cost, nonzeros_cost, params_cost
from autoprune.llm.search.levers import Levers

__all__ = ["Counted", "Measured", "Pricing"]

_HEADER, _ENTRY = 400, 120  # bytes of a safetensors file beside its numbers: at most, and for each tensor


@dataclass(frozen=True)
class Measured:
    """What a network costs.

    Attributes:
        cost: In the budget's unit.
        limit: What the budget allows; of latencies, in the same session.
        dense: The dense model's cost, in the same session.
    """

    cost: float
    limit: float
    dense: float

    @property
    def over(self) -> float:
        """The cost as a share of the limit."""
        return self.cost / self.limit


class Pricing(ABC):
    """How a budget is counted or measured.

    Attributes:
        cost: Prices policies for the search.
        limit: What the search may plan with, in the cost's unit.
        how: "counted" or "measured", for reports.
    """

    cost: AdditiveCost
    limit: float
    how: str

    @abstractmethod
    def measure(self, network: nn.Module) -> Measured:
        """What a network really costs."""


class Counted(Pricing):
    """Parameters, those that may be other than zero, or bytes in a safetensors file: exact.

    A share of what may be other than zero is one of the dense model's parameters. Weights of it that are zero by
    themselves count in what is planned, and not in what is measured, which is the less.

    Args:
        budget: The limit.
        levers: What can be changed.
        dense: Parameters and bytes of the dense model, as its report has them. Its files may hold what is no parameter
            (masks of attention), and tied weights twice, so that parameters are counted in the network.
    """

    how = "counted"

    def __init__(self, budget: LanguageBudget, levers: Levers, dense: dict[str, Any]) -> None:
        prices: dict[str, Callable[[], AdditiveCost]] = {
            "params": lambda: params_cost(levers),
            "nonzeros": lambda: nonzeros_cost(levers),
            "bytes": lambda: bytes_cost(levers, file_overhead(levers.network)),
        }
        counts: dict[str, Callable[[nn.Module], float]] = {
            "params": _parameters,
            "nonzeros": _nonzeros,
            "bytes": _bytes,
        }
        self.cost = prices[budget.kind]()
        self._count = counts[budget.kind]
        own = _parameters(levers.network) if budget.kind == "nonzeros" else self._count(levers.network)
        self._dense = min(own, float(dense.get(budget.kind, 0)) or own)
        self.limit = budget.amount.limit(self._dense)

    def measure(self, network: nn.Module) -> Measured:
        """See `Pricing.measure`."""
        return Measured(self._count(network), self.limit, self._dense)


def file_overhead(network: nn.Module) -> float:
    """What names, types and shapes take in a safetensors file at most, in bytes."""
    return float(_HEADER + sum(len(name) + _ENTRY for name, _ in network.named_parameters()))


def _parameters(network: nn.Module) -> float:
    return float(sum(parameter.numel() for parameter in network.parameters()))


def _nonzeros(network: nn.Module) -> float:
    return float(sum(int((parameter != 0).sum()) for parameter in network.parameters()))


def _bytes(network: nn.Module) -> float:
    return sum(p.numel() * p.element_size() for p in network.parameters()) + file_overhead(network)
