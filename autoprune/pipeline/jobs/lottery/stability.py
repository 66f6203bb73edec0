"""Instability analysis: whether two trainings from one state, in other orders of the images, end in one valley.

Frankle et al., Linear mode connectivity and the lottery ticket hypothesis, ICML 2020, section 2. From the state after k
steps two copies are trained to the end; on the line between their weights the score may fall. The barrier is how far
below the mean of both ends it falls; below two points of accuracy the state is called stable.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from autoprune.models.copying import duplicate
from autoprune.pipeline.jobs.lottery.levels import SAVE_EVERY, save_unfinished, unfinished
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.stacks import MOST, how_trained_beside
from autoprune.pipeline.reporter import Reporter
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.run.directory import RunDir
from autoprune.training import Trainer, TrainSettings
from autoprune.training.epochs import InEpochs
from autoprune.training.stacked import Member, StackedTrainer
from autoprune.training.trainer import count_batches

__all__ = ["BARRIERS", "STABILITY", "Stability", "barriers_of"]

BARRIERS = "stability.jsonl"
"""A line for every seed and step that is finished."""

STABILITY = "stability"
"""What these trainings are called where it is kept how they are trained."""

POINTS = 30  # on the line, as in the paper
_TWINS = (1, 2)  # orders of the images
_FOLDER = "checkpoint/stability"  # what a process that is killed has trained of the rows that it was at
STABLE = 0.02
"""Barrier of accuracy below which a state is stable."""


@dataclass(frozen=True, eq=False)
class Stability:
    """The analysis of the dense network.

    Attributes:
        networks: Makes the networks.
        run: Keeps the barriers.
        settings: The whole schedule.
        reporter: Shows progress.
    """

    networks: Networks
    run: RunDir
    settings: TrainSettings
    reporter: Reporter

    def carry_out(self) -> None:
        """Every seed and step that is not yet done."""
        experiment = self.networks.experiment
        wanted = [
            (experiment.seed + number, step)
            for number in range(experiment.seeds)
            for step in experiment.stability_steps
        ]
        if not wanted:
            return
        done = {(row["seed"], row["step"]) for row in self.run.rows(BARRIERS)}
        stacked = how_trained_beside(self.networks, self.run, STABILITY, begun=bool(done))
        size = MOST // len(_TWINS) if stacked else 1
        with self.reporter.stage("stability", "training twins", len(wanted), len(done)) as bar:
            for step in experiment.stability_steps:
                seeds = [seed for seed, at in wanted if at == step]
                for together in (seeds[first : first + size] for first in range(0, len(seeds), size)):
                    if any((seed, step) not in done for seed in together):
                        self._carry_out(together, step, done, stacked=stacked)
                    bar.update(len(done))

    def _carry_out(self, seeds: Sequence[int], step: int, done: set[tuple[int, int]], *, stacked: bool) -> None:
        """The rows of some seeds that are not yet written; trainings that are one are done again as a whole."""
        states = self._states(seeds, step, stacked=stacked)
        twins = self._twins(states, seeds, step, stacked=stacked)
        for place, seed in enumerate(seeds):
            if (seed, step) not in done:
                self.run.append_row(BARRIERS, self._row(seed, step, *twins[place]))
                done.add((seed, step))
        for path in self.run.file(_FOLDER).glob("*"):
            path.unlink()

    def _row(self, seed: int, step: int, one: nn.Module, other: nn.Module) -> dict[str, Any]:
        merits = [self._merit(one, other, number / (POINTS - 1)) for number in range(POINTS)]
        return {"seed": seed, "step": step, "barrier": (merits[0] + merits[-1]) / 2 - min(merits), "merits": merits}

    def _states(self, seeds: Sequence[int], step: int, *, stacked: bool) -> list[Mapping[str, Tensor]]:
        """The networks of seeds after so many steps of the study's own training."""
        networks = [(self.networks.fresh(seed), seed, 0) for seed in seeds]
        epochs = math.ceil(step / max(1, count_batches(self.networks.task.data.train)))
        if stacked:
            together = self._stack(networks, keep_at=step)
            self._run(together, epochs, f"seeds {seeds}, step {step}", "state")
            return list(together.kept or ())
        (alone,) = (self._trainer(*each, keep_at=step) for each in networks)
        self._run(alone, epochs, f"seed {seeds[0]}, step {step}", "state")
        assert alone.kept is not None
        return [alone.kept]

    def _twins(
        self, states: Sequence[Mapping[str, Tensor]], seeds: Sequence[int], step: int, *, stacked: bool
    ) -> list[tuple[nn.Module, nn.Module]]:
        """From each state two networks, trained to the end in other orders of the images."""
        made = []
        for state, seed in zip(states, seeds, strict=True):
            for order in _TWINS:
                network = self.networks.fresh(seed)
                network.load_state_dict(dict(state))
                made.append((network, seed, order))
        epochs = self.settings.epochs
        if stacked:
            self._run(self._stack(made, start_step=step), epochs, f"seeds {seeds}, twins from step {step}", "twins")
        else:
            for network, seed, order in made:
                key = f"seed {seed}, twin {order} from step {step}"
                self._run(self._trainer(network, seed, order, start_step=step), epochs, key, f"twin-{order}")
        return [(made[place][0], made[place + 1][0]) for place in range(0, len(made), len(_TWINS))]

    def _run(self, trainer: Trainer | StackedTrainer, epochs: int, key: str, name: str) -> None:
        """Train up to an epoch, going on where a killed process stopped; it is kept until its rows are written."""
        file, saved = f"{_FOLDER}/{name}.pt", time.monotonic()
        self.run.file(_FOLDER).mkdir(parents=True, exist_ok=True)
        if (found := unfinished(self.run, key, file)) is not None:
            trainer.load_state_dict(found[0])
        while trainer.epoch < epochs:
            trainer.run(1)
            if trainer.epoch >= epochs or time.monotonic() - saved > SAVE_EVERY:
                save_unfinished(self.run, key, trainer.state_dict(), [], file)
                saved = time.monotonic()

    def _trainer(self, network: nn.Module, seed: int, order: int, **steps: int) -> Trainer:
        task = self.networks.task
        return Trainer(
            network,
            self._batches(seed, order),
            replace(self.settings, distil_weight=0.0, seed=seed),
            loss=task.loss,
            reader=task.reader,
            **steps,  # type: ignore[arg-type]
        )

    def _stack(self, networks: Sequence[tuple[nn.Module, int, int]], **steps: int) -> StackedTrainer:
        """Networks with their seeds and orders, as one; nothing is drawn while they are trained but their batches."""
        members = [Member(network, {}, self._batches(seed, order)) for network, seed, order in networks]
        settings = replace(self.settings, distil_weight=0.0, seed=networks[0][1])
        return StackedTrainer(members, settings, **steps)

    def _batches(self, seed: int, order: int) -> InEpochs:
        return InEpochs(self.networks.task.data.train, first=(seed + 1) * 100_003 + order * 20_011)

    def _merit(self, one: nn.Module, other: nn.Module, share: float) -> float:
        """The search split's, of the network that lies at a share of the way; BatchNorm's statistics are its own."""
        task, between = self.networks.task, duplicate(one)
        theirs = other.state_dict()
        mixed = {
            name: tensor.lerp(theirs[name], share) if tensor.is_floating_point() else tensor
            for name, tensor in between.state_dict().items()
        }
        between.load_state_dict(mixed)
        if 0 < share < 1:
            reestimate_batch_norm(between, task.data.calibration, reader=task.reader)
        return task.merit(between.eval(), task.data.search)


def barriers_of(rows: Sequence[Mapping[str, Any]], *, accuracy: bool) -> list[dict[str, Any]]:
    """Barriers by step, over seeds; whether they are below two points, where networks are judged by accuracy.

    Args:
        rows: As `stability.jsonl` has them.
        accuracy: Whether the score is one.
    """
    found = []
    for step in sorted({row["step"] for row in rows}):
        barriers = [row["barrier"] for row in sorted(rows, key=lambda row: row["seed"]) if row["step"] == step]
        mean = statistics.fmean(barriers)
        stable = mean < STABLE if accuracy else None
        found.append({"step": step, "barriers": barriers, "barrier_mean": mean, "stable": stable})
    return found
