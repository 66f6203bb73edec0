"""Gradual pruning: the policies between the dense network and the final one, and how long each is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from autoprune.space import Decision

__all__ = ["SCHEDULES", "Stage", "policy_between", "stages_of"]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "one-shot": lambda time: 1.0,
    "iterative": lambda time: time,
    "cubic": lambda time: 1 - (1 - time) ** 3,
}
"""Share of what a policy removes that is gone, by the share of the steps taken; cubic is equation 1 of Zhu and Gupta
(2017), from nothing removed."""


@dataclass(frozen=True)
class Stage:
    """A network on the way.

    Attributes:
        choices: Kept units by decision.
        until: Epochs of the whole fine-tuning that are done when it ends.
    """

    choices: dict[str, int]
    until: int


def stages_of(
    decisions: Iterable[Decision], choices: Mapping[str, int], epochs: int, schedule: str, steps: int
) -> list[Stage]:
    """What is trained, one after the other; the last is the policy itself.

    The networks on the way share half of the epochs, at least one each, and the policy gets the rest; with fewer epochs
    than steps there are fewer steps.

    Args:
        decisions: Of the search space.
        choices: The policy: kept units of every decision.
        epochs: Of all stages together.
        schedule: One of `SCHEDULES`.
        steps: Cuts, the last one included.
    """
    decisions, share, count = tuple(decisions), SCHEDULES[schedule], max(1, min(steps, epochs))
    each = max(1, epochs // (2 * (count - 1))) if count > 1 else 0
    stages: list[Stage] = []
    for number in range(1, count + 1):
        until = epochs if number == count else number * each
        stage = Stage(policy_between(decisions, choices, share(number / count)), until)
        if stages and stages[-1].choices == stage.choices:  # no option lies between
            stages.pop()
        stages.append(stage)
    return stages


def policy_between(decisions: Iterable[Decision], choices: Mapping[str, int], share: float) -> dict[str, int]:
    """The policy that has removed this share of what `choices` removes: never less than that keeps, on each grid.

    Args:
        decisions: Of the search space.
        choices: Kept units by decision.
        share: In [0, 1].
    """
    found = {}
    for decision in decisions:
        final = choices[decision.name]
        wanted = decision.width - share * (decision.width - final)
        left = [option for option in decision.options if option >= final]
        found[decision.name] = min(left, key=lambda option: (abs(option - wanted), -option)) if left else final
    return found
