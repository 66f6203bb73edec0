"""Building a latency table: time whole networks, measure layers, fit the correction, say how wrong it is.

The networks on which the error is told are timed last, those on which the correction is fitted first: what a machine
does in the minutes between them is in the error, as it will be in that of every prediction.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from autoprune.cost.effects import Effect
from autoprune.errors import InputError
from autoprune.graph import Analysis, cut
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.contract.target import Target, Timer
from autoprune.hardware.tables.correction import Run
from autoprune.hardware.tables.device_table import DeviceTable
from autoprune.hardware.tables.entries import Entry, call_overhead, measure_layers, times_layers
from autoprune.hardware.tables.estimation import by_step_functions, by_tiles, doubtful
from autoprune.hardware.tables.latency_table import LatencyTable, Progress
from autoprune.hardware.tables.lowering import measurable, priced_operators
from autoprune.hardware.tables.sampling import by_importance, other_policies, sample_layers, spread_policies
from autoprune.hardware.timing.effort import Effort
from autoprune.hardware.timing.measure import least_of
from autoprune.models.inputs.example import as_example
from autoprune.models.sizes import parameter_count
from autoprune.space import SearchSpace, Stage

__all__ = ["ProfileSettings", "profile"]

_MOST_WEIGHTS = 500_000_000  # of all networks that one process has loaded: 2 GB in float32

# By when, as shares of the whole time: the networks of the fit are timed; the layers are measured. And seconds that
# the few layers of every family get in any case.
_TIME_OF_FIT, _TIME_OF_LAYERS, _TIME_OF_FIRST = 0.3, 0.75, 1.0

_FIT_OF_FORMATS = 16  # networks, where layers have two formats and a correction for each
_TIME_OF_EXPORT = 0.6  # of the time that networks have
_LEAST_NETWORKS = {"fit": 8, "held-out": 4}  # by role; fewer fit anything
_NETWORKS = {"fit": "networks", "held-out": "networks to check the table"}  # by role, for people

Checkpoint = Callable[[LatencyTable], None]
NetworkOf = Callable[[Mapping[str, int]], nn.Module]
"""Choices -> the network that is timed."""


@dataclass(frozen=True)
class ProfileSettings:
    """How much is measured.

    Attributes:
        most_entries: Layers measured exactly; beyond, a sample, and a learned step function for the rest.
        fit_runs: Networks timed end to end to fit the correction, the dense one among them; at least 8.
        held_out_runs: Further networks on which the error is computed; at least 4.
        entries: Protocol for layers.
        networks: Protocol for networks.
        passes: Processes in which networks are timed; the least latency of each counts.
        seconds: That it may take in all, exporting included: what is not measured by then is estimated. A few layers of
            every family, and 8 networks to fit and 4 held out, are measured in any case.
    """

    most_entries: int = 800
    fit_runs: int = 12
    held_out_runs: int = 6
    entries: Protocol = Protocol.entries()  # noqa: RUF009 - a frozen value
    networks: Protocol = Protocol.networks()  # noqa: RUF009
    passes: int = 2
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if (
            self.fit_runs < _LEAST_NETWORKS["fit"]
            or self.held_out_runs < _LEAST_NETWORKS["held-out"]
            or self.most_entries < 1
        ):
            raise InputError("a latency table needs at least 8 runs to fit, 4 held out, and 1 entry")

    @classmethod
    def of(cls, effort: Effort, seconds: float | None = None) -> ProfileSettings:
        """What `--timing` asks for.

        Args:
            effort: How much is timed.
            seconds: That it may take; default all that the effort has for timing.
        """
        seconds = effort.seconds if seconds is None else seconds
        counts = (effort.entries, effort.fit_runs, effort.held_out_runs)
        return cls(*counts, passes=effort.table_passes, seconds=seconds)


def _silent(done: int, total: int, what: str) -> None:
    return None


def profile(
    model: nn.Module,
    analysis: Analysis,
    space: SearchSpace,
    example: Any,
    target: Target,
    *,
    progress: Progress | None = None,
    seed: int = 0,
    known: LatencyTable | DeviceTable | None = None,
    device_table: str | Path | None = None,
    checkpoint: Checkpoint | None = None,
    settings: ProfileSettings | None = None,
    made: NetworkOf | None = None,
    settled: Callable[[Mapping[str, int]], dict[str, int]] = dict,
    effects: Mapping[str, Effect] | None = None,
) -> LatencyTable:
    """Build the latency table of a model on a target.

    Args:
        model: The dense network; left as it was.
        analysis: Its operators and groups.
        space: The decisions and their options.
        example: An input with the batch dimension that is timed.
        target: Where.
        progress: Called with (done, all, what is being done).
        seed: Seeds the policies of the end-to-end runs and the sample of layers.
        known: A table of the same target, of this model unfinished, or of another model: what it has measured is
            not measured again, but for layers whose timings were not stable.
        device_table: A file with what is known of the device, from whatever models: read if it is there, and extended
            by what is measured now.
        checkpoint: Called with the unfinished table every few seconds; save it to be able to go on.
        settings: How much is measured.
        made: Makes the network of a policy; by default it is cut.
        settled: Choices as they are carried out, for the networks that are timed.
        effects: Graph node -> what techniques change in it beside its widths; of variants that the target has, both
            kinds of layers are measured.

    Returns:
        A complete table.

    Raises:
        InputError: If the space does not fit the model, or a table was measured elsewhere.
        TargetError: If the target is not available, or failed.
    """
    target.require()
    settings = settings or ProfileSettings()
    variants = measurable(effects or {}, target.variants)
    if variants:
        settings = replace(settings, fit_runs=max(settings.fit_runs, _FIT_OF_FORMATS))
    operators = priced_operators(analysis, space, as_example(example).batch, target.fused, variants)
    protocols = {"entries": settings.entries, "networks": settings.networks}
    networks = settings.fit_runs + settings.held_out_runs
    table = LatencyTable(space, operators, target.fingerprint(), protocols=protocols, planned=networks)
    if known is not None:
        table.merge(known)
    if device_table is not None:
        table.merge(DeviceTable.open(device_table, table.fingerprint))
    made = made or _Cut(model, analysis, space)
    builder = _Builder(model, made, example, target, table, progress or _silent, checkpoint, device_table, settings)
    fit, held_out = (list(map(settled, each)) for each in builder.planned_networks(np.random.default_rng((seed, 1))))
    builder.time_networks(fit, "fit", _TIME_OF_FIT)
    builder.measure_entries(np.random.default_rng((seed, 0)))
    builder.time_networks(held_out, "held-out", 1.0)
    builder.finish()
    return table


@dataclass(frozen=True)
class _Cut:
    """The network of a policy on widths and branches."""

    model: nn.Module
    analysis: Analysis
    space: SearchSpace

    def __call__(self, choices: Mapping[str, int]) -> nn.Module:
        kept = {name: range(units) for name, units in self.space.units(choices).items()}
        return cut(self.model, self.analysis, kept)


@dataclass
class _Builder:
    """The steps of `profile`, in order."""

    model: nn.Module
    made: NetworkOf
    example: Any
    target: Target
    table: LatencyTable
    progress: Progress
    checkpoint: Checkpoint | None
    device_table: str | Path | None
    settings: ProfileSettings

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    def _left(self, share: float) -> float:
        """Seconds until so much of the time is over."""
        return max(0.0, self._start + share * self.settings.seconds - time.monotonic())

    def measure_entries(self, draw: np.random.Generator) -> None:
        """Measure the layers exactly, or a sample of them when there are too many."""
        layers = self.table.layers()
        chosen = sample_layers(list(layers.values()), self.settings.most_entries, draw)
        missing = [layer for layer in chosen if not self._is_known(layer)]
        if not missing or not times_layers(self.target, layers.values()):
            return
        done = len(chosen) - len(missing)
        self.progress(done, len(chosen), "layers")
        first, later = by_importance(missing, draw)
        with self.target.session() as timer:
            overhead = call_overhead(timer, self.target, missing[0], self.settings.entries)
            self.table.overhead = overhead.ms if overhead is not None else 0.0
            for part, least in ((first, _TIME_OF_FIRST), (later, 0.0)):
                seconds = max(self._left(_TIME_OF_LAYERS), least)
                if not part or not seconds:
                    continue
                shown = partial(self._show_layers, done, len(chosen))
                for batch in self._measured(part, timer, overhead, seconds, shown):
                    self.table.add(batch)
                    self._share(batch)
                    self._save()
                    done += len(batch)
            if self._left(_TIME_OF_LAYERS):
                self._measure_again(layers, timer, overhead)

    def _measured(
        self,
        layers: Sequence[Layer],
        timer: Timer,
        overhead: Measurement | None,
        seconds: float,
        progress: Callable[[int, int], None],
    ) -> Iterator[dict[str, Entry]]:
        return measure_layers(layers, self.target, timer, overhead, self.settings.entries.within(seconds), progress)

    def _show_layers(self, before: int, total: int, done: int, _: int) -> None:
        self.progress(before + done, total, "layers")

    def _is_known(self, layer: Layer) -> bool:
        """Whether a layer is known well: what was unstable when a profile was cut off is measured once more."""
        entry = self.table.entries.get(layer.key)
        return entry is not None and entry.stable

    def _measure_again(self, layers: Mapping[str, Layer], timer: Timer, overhead: Measurement | None) -> None:
        """Measure layers that lie off their family's step function once more; the nearer measurement stays.

        On a busy machine a few layers are measured during a slow spell; a true step is measured twice alike.
        """
        expected = doubtful(self.table)
        worst = sorted(expected, key=lambda key: -abs(self.table.ms_of(layers[key]) - expected[key]))
        again = [layers[key] for key in worst[: max(16, len(layers) // 4)]]
        seconds = self._left(_TIME_OF_LAYERS)
        batches = self._measured(
            again, timer, overhead, seconds, lambda done, total: self.progress(done, total, "doubtful layers again")
        )
        for batch in batches:
            for key, entry in batch.items():
                old = self.table.entries[key]
                nearer = abs(entry.ms - expected[key]) < abs(old.ms - expected[key])
                if nearer or (entry.stable and not old.stable):
                    self.table.add({key: entry})
            self._share({key: self.table.entries[key] for key in batch})
        self._save()

    def planned_networks(self, draw: np.random.Generator) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
        """Random policies: those to fit the correction on, the dense one first, and those to check it on."""
        space, settings = self.table.space, self.settings
        least = {d.name: d.options[0] for d in space.decisions if d.traits.stage is Stage.FORMAT}
        known = [space.dense, *([space.complete(least)] if least else [])]
        fit = [*known, *spread_policies(space, settings.fit_runs - len(known), draw)]
        unseen = other_policies(space, settings.held_out_runs, draw, fit)
        # Thin and wide ones in turn: where the time is over before the last are exported, the others are spread, too.
        return [fit[0], *fit[1::3], *fit[2::3], *fit[3::3]], [*unseen[::2], *unseen[1::2]]

    def time_networks(self, planned: Sequence[dict[str, int]], role: str, until: float) -> None:
        """Time policies end to end that are not timed yet.

        Args:
            planned: Which.
            role: What for.
            until: The share of the whole time by which it should be done.
        """
        seen, todo = [run.choices for run in self.table.runs_of(role)], []
        for choices in planned:  # a small space may have one policy twice
            if choices in seen:
                seen.remove(choices)
            else:
                todo.append(choices)
        size = self._at_once()
        for start in range(0, len(todo), size):
            part, before = todo[start : start + size], len(planned) - len(todo) + start
            seconds = self._left(until) * len(part) / (len(todo) - start)
            least = max(1, _LEAST_NETWORKS[role] - before)
            results = self._timed(part, _NETWORKS[role], before, len(planned), seconds, least)
            self.table.add_runs(
                Run(choices, result.ms, result.spread, role, result.stored_conditions())
                for choices, result in zip(part, results, strict=False)
            )
            self.table.planned -= len(part) - len(results)
            self._save()

    def _at_once(self) -> int:
        """How many networks are timed in one process: all, interleaved, as far as the memory for their weights goes.

        Where each is compiled for long, few: what is timed is kept, and an interrupted profile loses minutes at most.
        """
        numbers = parameter_count(self.model)
        return 2 if self.target.compiles_long else max(1, min(1000, _MOST_WEIGHTS // max(1, numbers)))

    def _timed(
        self, policies: Sequence[dict[str, int]], name: str, before: int, total: int, seconds: float, least: int
    ) -> list[Measurement]:
        """Networks timed in two processes, of each the lesser latency: a slow spell lasts a pass, and only adds.

        A runtime that compiles for long is asked once. Where exporting takes most of the time, the last ones are left
        out, but for so many at `least`.
        """
        payloads, end = [], time.monotonic() + seconds
        for number, choices in enumerate(policies):
            if number >= least and time.monotonic() > end - seconds * (1 - _TIME_OF_EXPORT):
                break
            self.progress(before + number, total, f"{name} exported")
            payloads.append(self.target.pack(self.made(choices), self.example))
        passes = 1 if self.target.compiles_long else self.settings.passes
        taken: list[list[Measurement]] = []
        while len(taken) < passes and (not taken or time.monotonic() < end):
            what = f"{name} timed, process {len(taken) + 1} of {passes}"
            protocol = self.settings.networks.within((end - time.monotonic()) / (passes - len(taken)))
            shown = partial(self._show_networks, before, total, what)
            taken.append(self.target.time(payloads, protocol, shown))
        return least_of(taken)[0]

    def _show_networks(self, before: int, total: int, what: str, done: int, _: int) -> None:
        self.progress(before + done, total, what)

    def finish(self) -> None:
        """Estimate the other layers: by step functions, or by multiply-accumulates where none can be timed alone."""
        if any(entry.source == "measured" for entry in self.table.entries.values()):
            self.table.add(by_step_functions(self.table))
        else:
            self.table.add(by_tiles(self.table))
        self._save()

    def _share(self, entries: Mapping[str, Entry]) -> None:
        if self.device_table is not None:
            table = self.table
            known = DeviceTable(table.fingerprint, dict(entries), table.overhead, self.settings.entries)
            known.extend(self.device_table)

    def _save(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint(self.table)
