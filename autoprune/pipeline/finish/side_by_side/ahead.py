"""Networks that will all be fine-tuned: done at the same time, where there are processes or a cluster for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from autoprune.errors import InputError, first_line
from autoprune.models import device_of
from autoprune.pipeline.finish.fine_tuning import FineTuning, checkpoint_of, trainer_of, weights_of
from autoprune.pipeline.finish.side_by_side.actors import Cluster
from autoprune.pipeline.finish.side_by_side.base import Elsewhere, Heard, Place, Training
from autoprune.pipeline.finish.side_by_side.processes import Processes
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.run.experiment import Experiment

__all__ = ["at_a_time", "tune_ahead"]

_FILE = "checkpoint/trainings.pt"  # what processes that train read; there while they run


def tune_ahead(problem: Problem, tunings: Sequence[FineTuning], reporter: Reporter, what: str) -> None:
    """Fine-tune several networks side by side; `fine_tune` then reads back what the run has of each.

    What cannot be done so is left: `fine_tune` does it, and reports what goes wrong. So are trainings on a GPU, by a
    loop of the user's own, and with cuts on the way. Sums differ in their last bits between numbers of threads, so that
    trainings with all threads of this process are, too: what a job gives must not depend on its processes.

    Args:
        problem: The task and its run.
        tunings: What will be asked for next; what the run has of them is not done again.
        reporter: Who watches.
        what: What they are for, for people: "fine-tuning finalists".
    """
    if at_a_time(problem.experiment, device_of(problem.task.model), len(tunings)) == 1:
        return
    missing = {each.name: each for each in tunings if each.epochs and not weights_of(problem, each).exists()}
    if len(missing) < 2:
        return
    trainings = [found for each in missing.values() if (found := _training(problem, each, reporter, what)) is not None]
    if len(trainings) < 2:
        return
    place, count = _place(problem, len(trainings))
    said = f"{what}, {count} of {len(trainings)} at a time, epochs"
    with reporter.stage("finetune", said, sum(each.trainer.settings.epochs for each in trainings)) as bar:
        try:
            place.train(trainings, _Sum(reporter, bar).heard)
        except Elsewhere as error:
            reporter.say(f"{what}: {error}; the rest is done one after the other")
        except InputError as error:
            reporter.say(f"{what}: {first_line(error)}; the rest is done one after the other")


def at_a_time(experiment: Experiment, device: torch.device, most: int) -> int:
    """How many of so many fine-tunings are done at the same time; see `tune_ahead` for why it may be one."""
    if device.type != "cpu" or (experiment.train_threads is None and torch.get_num_threads() > 1):
        return 1
    if experiment.ray is not None and experiment.workers == 1:
        return most
    return min(experiment.workers, most)


def _training(problem: Problem, tuning: FineTuning, reporter: Reporter, what: str) -> Training | None:
    trainer = trainer_of(problem, tuning, reporter, what)
    if trainer is None:
        return None
    said = f"{what}, seed {tuning.seed}"
    return Training(trainer, said, weights_of(problem, tuning), checkpoint_of(problem, tuning))


def _place(problem: Problem, most: int) -> tuple[Place, int]:
    """Where they are done, and how many at the same time."""
    experiment = problem.experiment
    count = at_a_time(experiment, device_of(problem.task.model), most)
    threads = torch.get_num_threads()
    if experiment.ray is not None:
        return Cluster(experiment.ray, experiment.workers, threads), count
    return Processes(problem.run.file(_FILE), count, threads), count


class _Sum:
    """Epochs of all trainings on one bar.

    Args:
        reporter: Hears what is said.
        bar: Shows the sum.
    """

    def __init__(self, reporter: Reporter, bar: Bar) -> None:
        self._reporter, self._bar, self._done = reporter, bar, 0
        self._begun = 0

    @property
    def heard(self) -> Heard:
        """For whoever trains."""
        return Heard(self._reporter.say, self._epoch, self._resumed, lambda: self._bar.update(self._done))

    def _epoch(self, values: Any) -> None:
        self._done += 1
        self._reporter.happened("epoch", values)
        self._bar.update(self._done, loss=f"{values['loss']:.3f}")

    def _resumed(self, epochs: int) -> None:
        self._done += epochs
        self._begun += epochs
        self._bar.begin(self._begun)
