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
from autoprune.hardware.tables.estimation import by_tiles, doubtful, estimate
from autoprune.hardware.tables.latency_table import LatencyTable, Progress
from autoprune.hardware.tables.lowering import slots_of
from autoprune.hardware.timing.measure import least_of
from autoprune.models.sizes import parameter_count
from autoprune.space import SearchSpace

__all__ = ["ProfileSettings", "other_policies", "profile", "spread_policies"]

_MOST_WEIGHTS = 500_000_000  # of all networks that one process has loaded: 2 GB in float32
_DRAWS = 20  # for a policy that no other network has

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
            not measured again, but for layers whose timings had not settled.
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
    slots = slots_of(analysis, space, int(example.shape[0]), target.fused)
    protocols = {"entries": settings.entries, "networks": settings.networks}
    networks = settings.fit_runs + settings.held_out_runs
    table = LatencyTable(space, slots, target.fingerprint(), protocols=protocols, planned=networks)
    if known is not None:
        table.merge(known)
    if device_table is not None:
        table.merge(DeviceTable.open(device_table, table.fingerprint))
    builder = _Builder(model, analysis, example, target, table, progress or _silent, checkpoint, device_table, settings)
    builder.measure_entries(np.random.default_rng((seed, 0)))
    builder.time_networks(np.random.default_rng((seed, 1)))
    builder.finish()
    return table


def spread_policies(space: SearchSpace, n: int, draw: np.random.Generator) -> list[dict[str, int]]:
    """Random policies whose share of kept units is spread evenly, from thin to nearly dense.

    Args:
        space: The decisions.
        n: How many.
        draw: Where the randomness comes from.
    """
    policies = []
    for centre in np.linspace(0.15, 1.0, n) if n > 1 else [0.5]:
        low, high = max(0.0, centre - 0.3), min(1.0, centre + 0.3)
        policies.append(
            space.canonical({d.name: d.nearest(d.width * float(draw.uniform(low, high))) for d in space.decisions})
        )
    return policies


def other_policies(
    space: SearchSpace, n: int, draw: np.random.Generator, known: Sequence[dict[str, int]]
) -> list[dict[str, int]]:
    """Random policies as `spread_policies` gives them, each unlike the others and unlike known ones.

    Where a draw gives what is there already, any policy will do; in a space that is too small some come twice.

    Args:
        space: The decisions.
        n: How many.
        draw: Where the randomness comes from.
        known: What they must not be.
    """
    policies: list[dict[str, int]] = []
    for choices in spread_policies(space, n, draw):
        for _ in range(_DRAWS):
            if choices not in known and choices not in policies:
                break
            picked = {d.name: d.options[int(draw.integers(len(d.options)))] for d in space.decisions}
            choices = space.canonical(picked)
        policies.append(choices)
    return policies


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
        chosen = _sample(list(layers.values()), self.settings.most_entries, draw)
        missing = [layer for layer in chosen if not self._settled(layer)]
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

    def _settled(self, layer: Layer) -> bool:
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
                self.table.runs.append(Run(choices, result.ms, result.spread, role, result.told()))
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
        """Fill the gaps: by the step function, or by multiply-accumulates where no layer can be timed alone."""
        if any(entry.source == "measured" for entry in self.table.entries.values()):
            estimate(self.table)
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


def _sample(layers: Sequence[Layer], most: int, draw: np.random.Generator) -> list[Layer]:
    """All layers, or about `most` of them: of every family the corners and a fair share at random."""
    if len(layers) <= most:
        return list(layers)
    families: dict[str, list[Layer]] = {}
    for layer in layers:
        families.setdefault(layer.family, []).append(layer)
    chosen: list[Layer] = []
    for members in families.values():
        share = max(min(len(members), 8), round(most * len(members) / len(layers)))
        chosen += _corners_and_more(members, share, draw)
    return chosen


def _corners_and_more(members: Sequence[Layer], share: int, draw: np.random.Generator) -> list[Layer]:
    ordered = sorted(members, key=lambda layer: (layer.inputs, layer.outputs))
    corners = {0, len(ordered) - 1}
    corners |= {
        ordered.index(min(ordered, key=lambda layer: (sign * layer.inputs, -sign * layer.outputs))) for sign in (1, -1)
    }
    rest = [i for i in range(len(ordered)) if i not in corners]
    more = draw.permutation(rest)[: max(0, share - len(corners))]
    return [ordered[i] for i in sorted({*corners, *(int(i) for i in more)})]
