"""Which exits a network gets: of all choices that keep the limits the one that fits the wish best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

from autoprune.dynamic_networks.thresholds import Answers, Choice, Limits, Reach, Times, choices_of
from autoprune.errors import BudgetError
from autoprune.run.settings import DynamicSettings

__all__ = ["best_of", "candidates", "require_reachable"]

_STEPS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # shares of the allowed loss that are tried for an asked mean


def require_reachable(times: Reach, settings: DynamicSettings, alone: str, longest: str) -> None:
    """Refuse, before anything is trained, a mean that no thresholds could reach, and a path that is too long.

    Args:
        times: Of the paths.
        settings: The limits.
        alone: What the shortest path is.
        longest: How the shortest of all longest paths comes about.

    Raises:
        BudgetError: Naming the least that can be reached.
    """
    asked = settings.limit_ms("mean_latency", times.dense)
    if asked is not None and asked < (least := times.least):
        raise BudgetError(
            f"a mean of {asked:.4g} ms is out of reach: {alone} takes {least:.4g} ms,"
            f" {least / times.dense:.1%} of the dense network's {times.dense:.4g} ms",
            least,
        )
    worst = settings.limit_ms("worst", times.dense) or times.dense
    if worst < (shortest := times.least_worst):
        raise BudgetError(
            f"a longest path of {worst:.4g} ms is out of reach: {longest} takes {shortest:.4g} ms,"
            f" {shortest / times.dense:.1%} of the dense network's {times.dense:.4g} ms; raise --worst",
            shortest,
        )


def candidates(answers: Answers, times: Times, settings: DynamicSettings) -> Iterable[Choice]:
    """Choices of places within the limits, the best first; none where nothing pays.

    Raises:
        BudgetError: If none keeps the asked mean at the allowed loss.
    """
    return best_of(lambda limits: choices_of(answers, times, limits), times.dense, settings)


def best_of(choices: Callable[[Limits], Iterable[Choice]], dense: float, settings: DynamicSettings) -> Iterable[Choice]:
    """Choices within the limits, the best first; none where nothing pays.

    Without an asked mean the fastest is the best. With one it is the one that loses least of those that keep it;
    those that lose more, and are faster, come behind it.

    Args:
        choices: All that keep some limits.
        dense: The dense network's time in milliseconds.
        settings: What is asked for.

    Raises:
        BudgetError: If none keeps the asked mean at the allowed loss.
    """

    def within(loss: float) -> list[Choice]:
        worst, p95 = settings.limit_ms("worst", dense) or dense, settings.limit_ms("p95", dense)
        kept = [each for each in choices(Limits(loss, worst, p95, settings.exits)) if each.mean_ms < dense]
        return sorted(kept, key=lambda each: each.mean_ms)

    asked = settings.limit_ms("mean_latency", dense)
    allowed = settings.max_drop / 100
    if asked is None:
        return within(allowed)
    losses = (share * allowed for share in _STEPS)
    for loss in losses:
        found = within(loss)
        if found and found[0].mean_ms <= asked:
            faster = (each for more in losses for each in within(more))
            return (each for each in chain(found, faster) if each.mean_ms <= asked)
    least = found[0].mean_ms if found else dense
    raise BudgetError(
        f"a mean of {asked:.4g} ms is out of reach at a loss of {settings.max_drop:g} points: the least is"
        f" {least:.4g} ms, {least / dense:.1%} of the dense network's; raise --mean-latency or --max-drop",
        least,
    )
