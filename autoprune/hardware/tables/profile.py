"""Building a latency table: measure layers, time whole networks, fit the correction, say how wrong it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

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
from autoprune.hardware.tables.lowering import priced_operators
from autoprune.hardware.tables.sampling import other_policies, sample_layers, spread_policies
from autoprune.hardware.timing.measure import least_of
from autoprune.models.sizes import parameter_count
from autoprune.space import SearchSpace

__all__ = ["ProfileSettings", "profile"]

_MOST_WEIGHTS = 500_000_000  # of all networks that one process has loaded: 2 GB in float32

Checkpoint = Callable[[LatencyTable], None]


@dataclass(frozen=True)
class ProfileSettings:
    """How much is measured.

    Attributes:
        most_entries: Layers measured exactly; beyond, a sample, and a learned step function for the rest.
        fit_runs: Networks timed end to end to fit the correction, the dense one among them; at least 8.
        held_out_runs: Further networks on which the error is computed; at least 4.
        entries: Protocol for layers.
        networks: Protocol for networks.
    """

    most_entries: int = 800
    fit_runs: int = 12
    held_out_runs: int = 6
    entries: Protocol = Protocol.entries()  # noqa: RUF009 - a frozen value
    networks: Protocol = Protocol(block=0.06)  # noqa: RUF009

    def __post_init__(self) -> None:
        if self.fit_runs < 8 or self.held_out_runs < 4 or self.most_entries < 1:
            raise InputError("a latency table needs at least 8 runs to fit, 4 held out, and 1 entry")


def _silent(done: int, total: int, what: str) -> None:
    return None


def profile(
    model: nn.Module,
    analysis: Analysis,
    space: SearchSpace,
    example: Tensor,
    target: Target,
    *,
    progress: Progress | None = None,
    seed: int = 0,
    known: LatencyTable | DeviceTable | None = None,
    device_table: str | Path | None = None,
    checkpoint: Checkpoint | None = None,
    settings: ProfileSettings | None = None,
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

    Returns:
        A complete table.

    Raises:
        InputError: If the space does not fit the model, or a table was measured elsewhere.
        TargetError: If the target is not available, or failed.
    """
    target.require()
    settings = settings or ProfileSettings()
    operators = priced_operators(analysis, space, int(example.shape[0]), target.fused)
    protocols = {"entries": settings.entries, "networks": settings.networks}
    networks = settings.fit_runs + settings.held_out_runs
    table = LatencyTable(space, operators, target.fingerprint(), protocols=protocols, planned=networks)
    if known is not None:
        table.merge(known)
    if device_table is not None:
        table.merge(DeviceTable.open(device_table, table.fingerprint))
    builder = _Builder(model, analysis, example, target, table, progress or _silent, checkpoint, device_table, settings)
    builder.measure_entries(np.random.default_rng((seed, 0)))
    builder.time_networks(np.random.default_rng((seed, 1)))
    builder.finish()
    return table


@dataclass
class _Builder:
    """The steps of `profile`, in order."""

    model: nn.Module
    analysis: Analysis
    example: Tensor
    target: Target
    table: LatencyTable
    progress: Progress
    checkpoint: Checkpoint | None
    device_table: str | Path | None
    settings: ProfileSettings

    def measure_entries(self, draw: np.random.Generator) -> None:
        """Measure the layers exactly, or a sample of them when there are too many."""
        layers = self.table.layers()
        chosen = sample_layers(list(layers.values()), self.settings.most_entries, draw)
        missing = [layer for layer in chosen if not self._is_known(layer)]
        if not missing or not times_layers(self.target, layers.values()):
            return
        done = len(chosen) - len(missing)
        self.progress(done, len(chosen), "layers")
        # Layers of different sizes side by side: a disturbance of a second hits no family alone.
        order = draw.permutation(len(missing))
        with self.target.session() as timer:
            self.table.overhead = call_overhead(timer, self.target, missing[0], self.settings.entries)
            batches = measure_layers(
                [missing[i] for i in order],
                self.target,
                timer,
                self.table.overhead,
                self.settings.entries,
                lambda measured, total: self.progress(done + measured, len(chosen), "layers"),
            )
            for batch in batches:
                self.table.add(batch)
                self._share(batch)
                self._save()
            self._measure_again(layers, timer)

    def _is_known(self, layer: Layer) -> bool:
        """Whether a layer is known well: what was unstable when a profile was cut off is measured once more."""
        entry = self.table.entries.get(layer.key)
        return entry is not None and entry.stable

    def _measure_again(self, layers: Mapping[str, Layer], timer: Timer) -> None:
        """Measure layers that lie off their family's step function once more; the nearer measurement stays.

        On a busy machine a few layers are measured during a slow spell; a true step is measured twice alike.
        """
        expected = doubtful(self.table)
        worst = sorted(expected, key=lambda key: -abs(self.table.entries[key].ms - expected[key]))
        again = [layers[key] for key in worst[: max(16, len(layers) // 4)]]
        batches = measure_layers(
            again,
            self.target,
            timer,
            self.table.overhead,
            self.settings.entries,
            lambda done, total: self.progress(done, total, "doubtful layers again"),
        )
        for batch in batches:
            for key, entry in batch.items():
                old = self.table.entries[key]
                nearer = abs(entry.ms - expected[key]) < abs(old.ms - expected[key])
                if nearer or (entry.stable and not old.stable):
                    self.table.add({key: entry})
            self._share({key: self.table.entries[key] for key in batch})
        self._save()

    def time_networks(self, draw: np.random.Generator) -> None:
        """Time random policies end to end: some to fit the correction on, some to check it."""
        space, settings = self.table.space, self.settings
        fit = [space.dense, *spread_policies(space, settings.fit_runs - 1, draw)]
        unseen = other_policies(space, settings.held_out_runs, draw, fit)
        planned = [*((choices, "fit") for choices in fit), *((choices, "held-out") for choices in unseen)]
        seen, todo = [(run.choices, run.role) for run in self.table.runs], []
        for each in planned:  # a small space may have one policy twice
            if each in seen:
                seen.remove(each)
            else:
                todo.append(each)
        size = self._at_once()
        for start in range(0, len(todo), size):
            part, before = todo[start : start + size], len(planned) - len(todo) + start
            results = self._timed([choices for choices, _ in part], before, len(planned))
            for (choices, role), result in zip(part, results, strict=True):
                self.table.runs.append(Run(choices, result.ms, result.spread, role, result.stored_conditions()))
            self._save()

    def _at_once(self) -> int:
        """How many networks are timed in one process: all, interleaved, as far as the memory for their weights goes.

        Where each is compiled for long, few: what is timed is kept, and an interrupted profile loses minutes at most.
        """
        numbers = parameter_count(self.model)
        return 2 if self.target.compiles_long else max(1, min(1000, _MOST_WEIGHTS // max(1, numbers)))

    def _timed(self, policies: Sequence[dict[str, int]], before: int, total: int) -> list[Measurement]:
        """Networks timed in two processes, of each the lesser latency: a slow spell lasts a pass, and only adds.

        A runtime that compiles for long is asked once.
        """
        payloads = []
        for number, choices in enumerate(policies):
            self.progress(before + number, total, "networks exported")
            kept = {name: range(units) for name, units in self.table.space.units(choices).items()}
            payloads.append(self.target.pack(cut(self.model, self.analysis, kept), self.example))
        passes = [
            self.target.time(
                payloads,
                self.settings.networks,
                lambda done, _: self.progress(before + done, total, "networks timed"),
            )
            for _ in range(1 if self.target.compiles_long else 2)
        ]
        return least_of(passes)[0]

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
