"""What policies cost before the search: all that a metric is handed to price them on one grid of widths."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.cost import AdditiveCost
from autoprune.cost.effects import Effect
from autoprune.cost.metrics import METRICS, MeteredEnergy, metric_of
from autoprune.errors import InputError
from autoprune.foundations.progress import Progress
from autoprune.graph import Analysis
from autoprune.hardware import Measurement, Protocol, Target, measure
from autoprune.hardware.grid.widths import Grid
from autoprune.hardware.tables.sampling import other_policies, spread_policies
from autoprune.pipeline import allowance
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import SearchSpace, Stage
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.stack import Stack

if TYPE_CHECKING:
    from autoprune.hardware import LatencyTable

__all__ = ["Pricing", "prices", "profile_path", "profiled"]

_PROTOCOL = Protocol(meter=1.0)
_FIT, _HELD_OUT = 10, 4  # networks whose energy is measured, the dense one among the first


@dataclass
class Pricing:
    """The context of `Metric.price`; implements `autoprune.cost.metrics.Pricing`.

    Attributes:
        task: The network and its example.
        run: Keeps what was measured, so that a resumed run reads it back.
        target: Where.
        analysis: The model's operators.
        space: The decisions.
        granularity: The grid of widths that the space was laid out on.
        coarser: The table of a coarser grid, whose measurements need not be taken again.
        reporter: Shows progress and sentences.
        table: The latency table; None until a metric asks for it.
        budget: Name of the budget that is on a further target; empty on the run's own.
    """

    task: Task
    run: RunDir
    target: Target
    analysis: Analysis
    space: SearchSpace
    granularity: Grid
    coarser: LatencyTable | None
    reporter: Reporter
    table: LatencyTable | None = None
    budget: str = ""

    def on(self, target: Target, budget: str) -> Pricing:
        """The same on a further target, whose table has a file of its own."""
        return replace(self, target=target, coarser=None, table=None, budget=budget)

    @cached_property
    def stack(self) -> Stack:
        """The techniques of the run, not fitted yet."""
        return Stack(techniques_of(self.run.experiment.technique_names), self.analysis, self.space)

    @property
    def effects(self) -> Mapping[str, Effect]:
        """Graph node -> what techniques change in its price beside its widths."""
        return self.stack.effects

    @property
    def batch(self) -> int:
        """Inputs in one call."""
        return self.task.target_batch

    @property
    def precision(self) -> str:
        """Number format in which the target computes."""
        return self.target.precision

    @property
    def fused(self) -> Collection[str]:
        """ATen operators that the target executes inside the weighted operator before them."""
        return self.target.fused

    def say(self, sentence: str) -> None:
        """Report one sentence to the user."""
        self.reporter.say(sentence)

    def latency(self) -> AdditiveCost:
        """The latency table as a cost; profiled unless the run has it."""
        if self.table is None:
            self.table = self._table()
        return self.table.cost()

    def metered_energy(self) -> MeteredEnergy:
        """Energy of random networks on the target; measured once a run and space."""
        space = self.space
        key = f"energy of {len(space)} decisions with {sum(len(d.options) for d in space.decisions)} options"
        return _from_json(self.run.once(key, self._measured_energy))

    def _table(self) -> LatencyTable:
        """The table as it was profiled: read back if it is there, else measured, going on where a profile stopped.

        The search's costs are this table's for ever. What is timed after the search refines `latency_table.json`, and
        a resumed run takes those timings up one after the other, as the whole run did.
        """
        from autoprune.hardware import LatencyTable

        path, space = profile_path(self.run, self.granularity, self.budget), self.space
        known = LatencyTable.load(path) if path.exists() else self.coarser
        self._require_same_device(known)
        same = known is not None and (known.space.decisions, known.space.ties) == (space.decisions, space.ties)
        if path.exists() and known is not None and same and known.complete:
            return known
        experiment, seconds = self.run.experiment, allowance.of_profile(self.run)
        if self.budget:  # a device table is of one device, the run's own
            experiment = experiment.replace(table=None)
        self.say(allowance.announced(experiment, seconds))
        with self.reporter.stage("profile", f"measuring layers on {self.target.name}") as progress:
            table = profiled(self.task, experiment, self.target, self.analysis, space, path, known, progress, seconds)
            table.save(path)
        self.say(f"latency table: {table.summary()}")
        return LatencyTable.load(path)  # as a resumed run reads it

    def _require_same_device(self, known: LatencyTable | None) -> None:
        """Prices of one device, measurements of another: neither would mean anything."""
        from autoprune.hardware.tables.device_table import check_fingerprint

        if known is None:
            return
        try:
            check_fingerprint(known.fingerprint, self.target.fingerprint())
        except InputError as error:
            raise InputError(f"{self.run.path} cannot go on here: {error}, in a run of its own") from error

    def _measured_energy(self) -> dict[str, Any]:
        """Energy of random networks in one interleaved session, as JSON values; why there is none without a sensor."""
        with self.reporter.stage("profile", f"measuring energy on {self.target.name}") as progress:
            (dense,) = measure([self.task.model], self.task.timed_example, self.target, _PROTOCOL)
            if dense.conditions.get("energy_mj") is None:
                why = dense.conditions.get("energy_source") or f"{self.target.name} says nothing about energy"
                return {"source": str(why), "runs": [], "held_out": []}
            policies = self._random_policies()
            results = self._metered(policies, progress)
        runs = [
            {"choices": choices, "mj": result.conditions["energy_mj"]}
            for choices, result in zip(policies, results, strict=True)
        ]
        if any(each["mj"] is None for each in runs):
            return {"source": "the sensor failed while it was read", "runs": [], "held_out": []}
        return {"source": str(dense.conditions["energy_source"]), "runs": runs[:_FIT], "held_out": runs[_FIT:]}

    def _random_policies(self) -> list[dict[str, int]]:
        """Policies to fit on, the dense one first, then those to tell the error on."""
        draw = np.random.default_rng((self.run.experiment.seed, 2))
        fitted = [dict(self.space.dense), *spread_policies(self.space, _FIT - 1, draw)]
        return [*fitted, *other_policies(self.space, _HELD_OUT, draw, fitted)]

    def _metered(self, policies: Sequence[dict[str, int]], progress: Progress) -> list[Measurement]:
        return measure(
            [self.stack.apply(self.task.model, choices) for choices in policies],
            self.task.timed_example,
            self.target,
            _PROTOCOL,
            progress=progress,
        )


def _from_json(content: dict[str, Any]) -> MeteredEnergy:
    def pairs(name: str) -> tuple[tuple[dict[str, int], float], ...]:
        return tuple((each["choices"], each["mj"]) for each in content[name])

    return MeteredEnergy(content["source"], pairs("runs"), pairs("held_out"))


def prices(context: Pricing, kinds: Sequence[str]) -> dict[str, AdditiveCost]:
    """Cost models by kind: what every run is priced by, then the budgets' own.

    Args:
        context: What metrics are handed.
        kinds: What budgets are on.
    """
    chosen = {kind: metric_of(kind).price(context, budgeted=True) for kind in kinds}
    always = [name for name in METRICS if METRICS.get(name).always]
    return {
        name: chosen[name] if name in chosen else metric_of(name).price(context, budgeted=False)
        for name in dict.fromkeys([*always, *kinds])
    }


def profiled(
    task: Task,
    experiment: Experiment,
    target: Target,
    analysis: Analysis,
    space: SearchSpace,
    unfinished: Path,
    known: LatencyTable | None,
    progress: Progress,
    seconds: float,
) -> LatencyTable:
    """The model's latency table, measured as the settings want it; what is measured is in a file at once.

    Args:
        task: The network and the batch that is timed.
        experiment: Seed and device table.
        target: Where.
        analysis: The model's operators.
        space: The decisions.
        unfinished: The file.
        known: A table whose measurements need not be taken again.
        progress: Called with (done, all, what).
        seconds: That it may take.
    """
    from autoprune.hardware import ProfileSettings, profile

    formats = any(decision.traits.stage is Stage.FORMAT for decision in space.decisions)
    stack = Stack(techniques_of(experiment.technique_names), analysis, space) if formats else None  # else widths alone

    return profile(
        task.model,
        analysis,
        space,
        task.timed_example,
        target,
        progress=allowance.within(seconds, progress),
        seed=experiment.seed,
        known=known,
        device_table=experiment.table,
        checkpoint=lambda table: table.save(unfinished),
        settings=ProfileSettings.of(allowance.effort_of(experiment), seconds),
        made=None if stack is None else lambda choices: stack.apply(task.model, choices),
        settled=dict if stack is None else stack.settled,
        effects=None if stack is None else stack.effects,
    )


def profile_path(run: RunDir, granularity: Grid, budget: str = "") -> Path:
    """Where the table of a grid of widths lies, finished or not; that of a budget on a further target apart."""
    apart = "".join(c if c.isalnum() or c in "._-" else "-" for c in budget)
    return run.file(f"checkpoint/profile-{granularity}{apart and '-'}{apart}.json")
