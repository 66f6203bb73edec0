"""Which of the searched policies is delivered: the best that meets the budget as its network really costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import nn

from autoprune import agents
from autoprune.agents import EpisodeRecord
from autoprune.envs import ScoreMemory
from autoprune.errors import BudgetError, InputError
from autoprune.llm.search.levers import Levers
from autoprune.llm.search.pricing import Measured, Pricing
from autoprune.llm.search.scoring import LOSS, WORST
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.play import nearest_within
from autoprune.pipeline.search.sessions import policy_key
from autoprune.run.directory import RunDir

__all__ = ["Chosen", "choose"]

_ATTEMPTS = 4
_AIM = 0.99  # share of the limit that is aimed at after a miss
_NARROWED = 3  # of the best policies, which are narrowed to a tightened limit


@dataclass(frozen=True, eq=False)
class Chosen:
    """What is delivered.

    Attributes:
        choices: Decision -> what stays.
        network: Of the stock class.
        loss: On the held-out text (nats).
        predicted: By the cost that the search planned with.
        measured: What the network really costs.
    """

    choices: dict[str, int]
    network: nn.Module
    loss: float
    predicted: float
    measured: Measured


def choose(
    records: Sequence[EpisodeRecord],
    pricing: Pricing,
    scores: ScoreMemory,
    levers: Levers,
    run: RunDir[Any],
    reporter: Reporter,
) -> Chosen:
    """The best policy whose network meets the budget; where one misses it, the limit is tightened by as much.

    Args:
        records: Episodes of the search.
        pricing: The budget.
        scores: Loss of policies (nats).
        levers: Make the networks.
        run: Keeps what was measured.
        reporter: Shows progress.

    Raises:
        BudgetError: If no network that was tried meets the budget.
    """
    limit, least = pricing.limit, pricing.cost.least()[0]
    for attempt in range(_ATTEMPTS):
        choices, network = _proven(records, pricing, scores, limit, levers)
        predicted = pricing.cost.cost(choices)
        with reporter.stage("verify", "holding the best network against the budget"):
            key = f"verified {attempt} {policy_key(choices)}"
            measured = Measured(**run.once(key, partial(_measured, pricing, network)))
        if measured.over <= 1:
            return Chosen(choices, network, scores(choices), predicted, measured)
        limit = min(limit, predicted) * _AIM / measured.over
        if limit < least:
            break
        reporter.say(f"the network takes {measured.over:.1%} of the budget as {pricing.how}; the limit is tightened")
    raise BudgetError(
        f"no network met the budget as {pricing.how}: the last one takes {measured.over:.1%} of it; raise the budget",
        measured.cost,
    )


def _measured(pricing: Pricing, network: nn.Module) -> dict[str, float]:
    return asdict(pricing.measure(network))


def _proven(
    records: Sequence[EpisodeRecord], pricing: Pricing, scores: ScoreMemory, limit: float, levers: Levers
) -> tuple[dict[str, int], nn.Module]:
    """The best policy within a limit whose network is proven equal to the dense one without the units."""
    left = [r.choices for r in agents.best(records, len(records))]
    while True:
        choices = _best_within(left, pricing, scores, limit)
        try:
            return choices, levers.cut(choices)
        except InputError:
            scores.remember(choices, WORST)
            left = [each for each in left if each != choices]


def _best_within(
    known: Sequence[dict[str, int]], pricing: Pricing, scores: ScoreMemory, limit: float
) -> dict[str, int]:
    """The policy of least loss within a limit: among those, the best first, and the best ones narrowed to it."""
    inside = [choices for choices in known if pricing.cost.cost(choices) <= limit][:1]
    if limit < pricing.limit or not inside:
        inside += [nearest_within(pricing.cost, limit, choices) for choices in known[:_NARROWED]]
    best = min(inside, key=scores, default=None)
    if best is None or scores(best) >= WORST:
        raise BudgetError(f"every network within the budget predicts nothing ({LOSS.text(WORST)}); raise the budget")
    return best
