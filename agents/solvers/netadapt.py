"""NetAdapt as an agent: rounds of proposals from dense to the budget, each round's best by the curves."""

from __future__ import annotations

from typing import ClassVar

from autoprune.agents.netadapt import Proposal, proposals, reduction_share
from autoprune.agents.solvers.base import SolverAgent
from autoprune.agents.solvers.greedy_steps import greedy

__all__ = ["NetAdaptAgent"]

_FIRST, _DECAY = 0.025, 0.96  # the paper's


class NetAdaptAgent(SolverAgent):
    """Takes 2.5 % of the dense cost off a round, as NetAdapt does, and plays all proposals of the round that arrives.

    In the paper every proposal is fine-tuned and scored. Here the rounds before the last are over the budget, where no
    episode can be played, so their proposals are compared by the curves; `autoprune progressive` is the other form,
    which fine-tunes and measures.
    """

    name: ClassVar[str] = "netadapt"

    def solve(self, limit: float) -> list[dict[str, int]]:
        """The proposals of the last round, the least predicted loss first."""
        cost = self.env.cost
        current, last, step = dict(self.env.space.dense), [dict(self.env.space.dense)], 0
        while (now := cost.cost(current)) > limit:
            reduction = min(reduction_share(step, _FIRST, _DECAY) * cost.dense, now - limit)
            found = sorted(proposals(cost, current, reduction), key=self._loss)
            arrived = [proposal.choices for proposal in found if proposal.cost <= limit]
            if not found or (not arrived and found[0].cost >= now):
                return [greedy(self.prices, limit)]
            current, step = (arrived or [found[0].choices])[0], step + 1
            last = arrived
        return last

    def _loss(self, proposal: Proposal) -> float:
        indices = self.env.space.indices(proposal.choices)
        return float(self.prices.curves.of(indices[None])[0])
