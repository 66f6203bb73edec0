"""The chip as the first decisions of an episode: what its knobs are, and the environment that begins with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from autoprune.cost.chips import BestChip, ChosenChip
from autoprune.envs import CodesignEnv, Reward
from autoprune.pipeline.jobs.codesign.arms import Arm
from autoprune.pipeline.jobs.codesign.designs import Design, values_at

__all__ = ["KnobChoice"]

_FILE = "accelerator"


class KnobChoice:
    """The chips of an arm as decisions: which file, and the value of each knob that differs between them.

    Args:
        arm: Its tables.
        cost: The cost on the best of its chips within the area, which are all that can be decided for.
    """

    def __init__(self, arm: Arm, cost: BestChip) -> None:
        self._arm, self._cost = arm, cost
        designs = [arm.designs[int(number)] for number in cost.numbers]
        named = [{_FILE: each.source, **_values(each, _paths(designs))} for each in designs]
        every = {path: _distinct(each[path] for each in named) for path in named[0]}
        self.values = {path: values for path, values in every.items() if len(values) > 1}
        self.chips = [{path: each[path] for path in self.values} for each in named]

    @property
    def exists(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self.values)

    def environment(self, limit: float, reward: Reward) -> CodesignEnv:
        """Episodes that begin with the chip, under a limit."""
        arm, cost = self._arm, self._cost
        spec = arm.problem.task.scored_as
        own = (cost.every, self.values, self.chips, cost.kind, limit, arm.memory)
        return CodesignEnv(*own, reward=reward, scored_as=spec)

    @cached_property
    def priced(self) -> ChosenChip:
        """What episodes cost."""
        return ChosenChip(self._cost.every, self.values, self.chips, self._cost.kind)

    def on_best_chip(self, choices: Mapping[str, int]) -> dict[str, int]:
        """A policy of the layers, with the chip that suits it best before it."""
        best = int(self._cost.chip_of(self._cost.space.indices(choices)[None])[0])
        place = [int(number) for number in self._cost.numbers].index(best)
        return {**self.priced.naming(place), **choices}


def _paths(designs: Sequence[Design]) -> list[str]:
    return _distinct(path for design in designs for path in design.knobs)


def _values(design: Design, paths: Sequence[str]) -> dict[str, object]:
    return dict(zip(paths, values_at(design.chip, paths), strict=True))


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each once, in order of their first."""
    return list(dict.fromkeys(values))
