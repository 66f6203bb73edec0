"""What the channels of a ticket will take on the target, said before they are trained; and other widths of as long.

A latency table promises the milliseconds. Beside the ticket's own widths stand the largest uniform ones and random
ones that are promised no more: what they come to, trained the same way, is what the ticket's shape is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.cost import CostModel
from autoprune.envs import largest_uniform, spend_budget
from autoprune.hardware import LatencyTable, measure
from autoprune.hardware.grid.widths import Grid
from autoprune.hardware.timing.effort import effort_named
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.turning import turned
from autoprune.pipeline.pricing import Pricing
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir
from autoprune.run.settings.lottery import CHANNELS_FORM

__all__ = ["BESIDE", "Promises", "with_others"]

_UNIFORM, _RANDOM = "uniform-widths", "random-widths"

BESIDE = (_UNIFORM, _RANDOM)
"""Forms that are trained beside the channels of a ticket."""

_DRAWS = 20  # of random widths, until they are none of the others
_SESSIONS = 2  # after the first, widths of as long are looked for again with what the table has learned

Choices = dict[str, int]


def with_others(names: Iterable[str]) -> tuple[str, ...]:
    """Forms, those that stand beside channels behind them."""
    return tuple(each for name in names for each in ((name, *BESIDE) if name == CHANNELS_FORM else (name,)))


@dataclass(frozen=True, eq=False)
class Promises:
    """Widths and promised milliseconds of the channel forms, by round; decided once a run.

    Attributes:
        networks: Of the study, which is finished.
        run: Its folder; the latency table lies there as that of a search does.
        reporter: Shows progress.
    """

    networks: Networks
    run: RunDir
    reporter: Reporter

    def of(self, number: int) -> dict[str, Any]:
        """What is promised of a round: `dense_ms`, `table`, and by seed and form `widths` and `ms`.

        Args:
            number: The round.
        """
        found: dict[str, Any] = self.run.once(f"lottery widths of round {number}", lambda: self._decided(number))
        return found

    def widths(self, name: str, seed: int, number: int) -> Choices:
        """The widths of a form: decision -> units."""
        found: Choices = self.of(number)["seeds"][str(seed)][name]["widths"]
        return found

    def ms(self, name: str, seed: int, number: int) -> float:
        """Milliseconds that are promised of a form."""
        return float(self.of(number)["seeds"][str(seed)][name]["ms"])

    def _decided(self, number: int) -> dict[str, Any]:
        experiment = self.networks.experiment
        seeds = range(experiment.seed, experiment.seed + experiment.seeds)
        own = {seed: self._own(seed, number) for seed in seeds}
        table, found = self._table(), dict[int, dict[str, Choices]]()
        known: list[Choices] = []
        for _ in range(_SESSIONS):
            found = {seed: _of_as_long(table.cost(), own[seed], (seed, number)) for seed in seeds}
            new = [c for forms in found.values() for c in forms.values() if c not in known]
            new = [choices for place, choices in enumerate(new) if choices not in new[:place]]
            if new:
                self._learn(table, new, number)
            known += new
        cost = table.cost()
        promised = {
            str(seed): {name: {"widths": c, "ms": cost.cost(c)} for name, c in forms.items()}
            for seed, forms in found.items()
        }
        return {"dense_ms": cost.dense, "table": table.error_figures(), "seeds": promised}

    def _own(self, seed: int, number: int) -> Choices:
        """The widths of the ticket itself."""
        policy = turned(self.networks, self.run, CHANNELS_FORM, seed, number).policy
        assert policy is not None  # channels have one
        return dict(policy.choices)

    def _table(self) -> LatencyTable:
        """As it was profiled: what later rounds have taught it is theirs."""
        analysis, space = self.networks.proven
        task, target = self.networks.task, target_of(self.networks.experiment)
        target.require()
        pricing = Pricing(task, self.run, target, analysis, space, Grid.of(target), None, self.reporter)
        pricing.latency()
        assert pricing.table is not None  # as it was asked for
        return pricing.table

    def _learn(self, table: LatencyTable, policies: Sequence[Choices], number: int) -> None:
        """Time networks of these widths beside the dense one, and correct the table by them."""
        networks, experiment = self.networks, self.networks.experiment
        seed, target = experiment.seed, target_of(experiment)
        forms = [turned(networks, self.run, CHANNELS_FORM, seed, number, widths=c).start.network for c in policies]
        effort = effort_named(experiment.timing)
        plan = effort.plan(effort.of_profile / _SESSIONS)
        with self.reporter.stage("profile", f"timing widths of round {number}") as bar:
            subjects = [networks.fresh(seed), *forms]
            taken = measure([one.eval() for one in subjects], networks.task.timed_example, target, plan, progress=bar)
            table.measure_missing(policies, target, bar, seconds=effort.of_session)
        table.refit(list(zip([table.space.dense, *policies], taken, strict=True)))


def _of_as_long(cost: CostModel, own: Choices, draw: Sequence[int]) -> dict[str, Choices]:
    """A ticket's widths, and others that are promised no more milliseconds, as near to them as the grid allows."""
    limit = cost.cost(own)
    least = {decision.name: decision.options[0] for decision in cost.space.decisions}
    found: dict[str, Mapping[str, int]] = {CHANNELS_FORM: own}
    found[_UNIFORM] = largest_uniform(cost, limit) or cost.space.complete(least)
    found[_RANDOM] = _another(cost, limit, list(found.values()), np.random.default_rng(draw))
    return {name: {key: int(units) for key, units in choices.items()} for name, choices in found.items()}


def _another(
    cost: CostModel, limit: float, known: Sequence[Mapping[str, int]], draw: np.random.Generator
) -> Mapping[str, int]:
    """Random widths within a limit; others than those that are known, unless a coarse grid has hardly any."""
    for _ in range(_DRAWS):
        found = spend_budget(cost, limit, draw, fallback=known[0])
        if found not in known:
            break
    return found
