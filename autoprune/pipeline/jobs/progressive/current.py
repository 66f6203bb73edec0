"""The current network of a stepwise pruning: small, already fine-tuned, and yet described against the dense one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.criteria.ranking import Ranking
from autoprune.graph import Analysis, cut, index_map
from autoprune.models.copying import duplicate
from autoprune.pipeline.problem import Problem
from autoprune.space import STRUCTURED

__all__ = ["PrunedState", "expand_to_dense"]

Kept = Mapping[str, Sequence[int]]


def expand_to_dense(dense: nn.Module, analysis: Analysis, kept: Kept, small: nn.Module) -> nn.Module:
    """The small network in the dense one's shapes: its values at the kept positions, zero elsewhere; undoes `cut`.

    So a network that was cut and trained can be cut again by the dense network's analysis, and every policy of it
    names the dense network's units: `cut(expand_to_dense(dense, analysis, kept, small), analysis, kept)` is `small`.

    Args:
        dense: Gives the shapes; left as it is.
        analysis: Of `dense`.
        kept: What `small` was cut by.
        small: The cut network; any values.
    """
    values = dict((*small.named_parameters(), *small.named_buffers()))
    places = index_map(analysis, kept)
    big = duplicate(dense)
    with torch.no_grad():
        for name, tensor in (*big.named_parameters(), *big.named_buffers()):
            tensor.zero_()
            if name in values:  # a layer that was dropped whole has none
                _put(tensor, places.get(name, []), values[name])
    return big


def _put(tensor: Tensor, places: Sequence[tuple[int, Tensor]], values: Tensor) -> None:
    """Write values of shape (kept, ...) at kept positions of some dimensions; all of the other dimensions."""
    if not places:
        tensor.copy_(values)
        return
    at = [torch.arange(size, device=tensor.device) for size in tensor.shape]
    for dim, index in places:
        at[dim] = index.to(tensor.device)
    tensor[torch.meshgrid(*at, indexing="ij")] = values


@dataclass(frozen=True)
class PrunedState:
    """What a stepwise pruning has come to.

    Attributes:
        choices: What is kept, by decision.
        kept: Indices of the dense network's units that stay, by coupled group and block.
        order: Units of every group of the dense network: those that stay first, the most important foremost, by the
            current weights. The first units of a narrower policy therefore are among those that were kept before.
        network: The current network, small.
    """

    choices: dict[str, int]
    kept: dict[str, list[int]]
    order: Ranking
    network: nn.Module

    @classmethod
    def dense(cls, problem: Problem) -> PrunedState:
        """The start: nothing is pruned."""
        choices = problem.space.dense
        return cls(choices, problem.kept(choices), problem.ranking, duplicate(problem.task.model))

    @classmethod
    def of_network(
        cls, problem: Problem, choices: Mapping[str, int], kept: Mapping[str, list[int]], network: nn.Module
    ) -> PrunedState:
        """A small network under any weights, its units ranked by these.

        Args:
            problem: Its criterion ranks.
            choices: The policy.
            kept: The units that `network` keeps.
            network: Cut by `kept`.
        """
        whole = expand_to_dense(problem.task.model, problem.analysis, kept, network)
        order: Ranking = problem.stack.fit(whole, problem.calibration).fitted[STRUCTURED]
        return cls(dict(choices), dict(kept), order.among(kept), network)

    def whole(self, problem: Problem) -> nn.Module:
        """The current network in the dense one's shapes."""
        return expand_to_dense(problem.task.model, problem.analysis, self.kept, self.network)

    def ranked(self, problem: Problem) -> Problem:
        """The problem, whose policies and cuts keep the units that are foremost here."""
        return problem.ranked_by(self.order)

    def narrowed(self, problem: Problem, choices: Mapping[str, int]) -> PrunedState:
        """Cut further: the most important units of the current network stay, with its weights."""
        kept = self.order.kept(problem.space.units(choices))
        network = cut(self.whole(problem), problem.analysis, kept)
        return PrunedState(problem.space.complete(choices), kept, self.order, network)
