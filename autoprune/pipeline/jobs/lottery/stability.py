"""Instability analysis: whether two trainings from one state, in other orders of the images, end in one valley.

Frankle et al., Linear mode connectivity and the lottery ticket hypothesis, ICML 2020, section 2. From the state after k
steps two copies are trained to the end; on the line between their weights the score may fall. The barrier is how far
below the mean of both ends it falls; below two points of accuracy the state is called stable.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from autoprune.models.copying import duplicate
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.reporter import Reporter
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.run.directory import RunDir
from autoprune.training import Trainer, TrainSettings
from autoprune.training.epochs import InEpochs

__all__ = ["BARRIERS", "Stability", "barriers_of"]

BARRIERS = "stability.jsonl"
"""A line for every seed and step that is finished."""

POINTS = 30  # on the line, as in the paper
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
        done = {(row["seed"], row["step"]) for row in self.run.rows(BARRIERS)}
        with self.reporter.stage("stability", "training twins", len(wanted), len(done)) as bar:
            for seed, step in wanted:
                if (seed, step) not in done:
                    self.run.append_row(BARRIERS, self._row(seed, step))
                    done.add((seed, step))
                bar.update(len(done))

    def _row(self, seed: int, step: int) -> dict[str, Any]:
        state = self._state(seed, step)
        one, other = (self._twin(state, seed, step, order) for order in (1, 2))
        merits = [self._merit(one, other, number / (POINTS - 1)) for number in range(POINTS)]
        return {"seed": seed, "step": step, "barrier": (merits[0] + merits[-1]) / 2 - min(merits), "merits": merits}

    def _trainer(self, network: nn.Module, seed: int, order: int, **steps: int) -> Trainer:
        task = self.networks.task
        return Trainer(
            network,
            InEpochs(task.data.train, first=(seed + 1) * 100_003 + order * 20_011),
            replace(self.settings, distil_weight=0.0, seed=seed),
            loss=task.loss,
            reader=task.reader,
            **steps,  # type: ignore[arg-type]
        )

    def _state(self, seed: int, step: int) -> Mapping[str, Tensor]:
        """The network after so many steps of the study's own training."""
        trainer = self._trainer(self.networks.fresh(seed), seed, 0, keep_at=step)
        trainer.run(math.ceil(step / max(1, trainer.steps // self.settings.epochs)))
        assert trainer.kept is not None
        return trainer.kept

    def _twin(self, state: Mapping[str, Tensor], seed: int, step: int, order: int) -> nn.Module:
        network = self.networks.fresh(seed)
        network.load_state_dict(dict(state))
        return self._trainer(network, seed, order, start_step=step).run()

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
