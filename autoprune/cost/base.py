"""The contract of whatever prices the policies of a search space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

import numpy as np

from autoprune.cost.terms import Costs, SumOfTerms, Widths
from autoprune.space import SearchSpace

__all__ = ["CostModel", "Finishing"]


class Finishing(Protocol):
    """Finds cheap ways to finish a policy whose first decisions are taken."""

    def best(self, prefix: Widths, known: Widths | None = None) -> Widths:
        """The cheapest known full policy that starts with `prefix`, as option numbers of shape (decisions,)."""

    def ahead(self, prefix: Widths, known: Widths, limit: float) -> tuple[Costs, Widths | None]:
        """What each option of the next decision can still come to, and the policies that come to it, if known."""


class CostModel(ABC):
    """What a policy costs: one sum of terms, or the largest of several.

    A policy is within a limit where `cost <= limit`; of several sums each has to be.

    Attributes:
        kind: What is priced: `latency`, `flops`, `params`.
        unit: The unit of every number here, for people: `ms`, `MACs`, `parameters`.
        space: The decisions and their options.
    """

    kind: str
    unit: str
    space: SearchSpace

    @property
    @abstractmethod
    def parts(self) -> tuple[SumOfTerms, ...]:
        """The sums, in `unit`, of which the largest is the cost."""

    @abstractmethod
    def costs(self, indices: Widths) -> Costs:
        """Costs of many policies in `unit`, given as option numbers of shape (policies, decisions)."""

    @abstractmethod
    def finishing(self) -> Finishing:
        """Finds cheap completions of policies begun."""

    @abstractmethod
    def refusal(self, limit: float) -> str:
        """Why a limit cannot be met: what is the least that can be reached, for people."""

    def cost(self, choices: Mapping[str, int]) -> float:
        """Cost of one policy in `unit`; decisions that are not named are dense."""
        return float(self.costs(self.space.indices(choices)[None])[0])

    def spent(self, indices: Widths) -> Costs:
        """Mean of the parts, shape (policies,): falls where any of them falls, as the largest alone does not."""
        mean: Costs = np.mean([part.costs(indices) for part in self.parts], axis=0)
        return mean

    def excess(self, indices: Widths, limit: float) -> Costs:
        """What the parts cost above a limit, added up, shape (policies,)."""
        above: Costs = np.sum([np.maximum(part.costs(indices) - limit, 0.0) for part in self.parts], axis=0)
        return above

    def least(self) -> tuple[float, dict[str, int]]:
        """The least cost that the search space is known to reach, and choices that reach it."""
        indices = self.finishing().best(np.empty(0, dtype=np.int64))
        return float(self.costs(indices[None])[0]), self.space.choices(indices)

    @cached_property
    def dense(self) -> float:
        """Cost of the network with nothing pruned."""
        return self.cost({})
