"""The stages of a job with their estimated seconds, and where each estimate comes from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from autoprune import agents
from autoprune.agents.netadapt import reduction_share
from autoprune.cost.budget import parsed_budgets
from autoprune.hardware.timing.effort import Effort
from autoprune.models import device_of
from autoprune.pipeline.allowance import effort_of
from autoprune.pipeline.finish.lengths import epochs_of_compress, final_epochs, rounds_of
from autoprune.pipeline.finish.side_by_side.ahead import at_a_time
from autoprune.pipeline.jobs.accuracy_drop import STEPS
from autoprune.pipeline.plan.base import PlannedStage, Work
from autoprune.pipeline.plan.clock import Clock
from autoprune.pipeline.plan.timing import TargetTimes, profile_seconds, verification_seconds
from autoprune.pipeline.search.play import points_of_curves
from autoprune.pipeline.search.single_cuts import tried_options
from autoprune.reconstruction.candidate_weights import Elastic
from autoprune.run.experiment import Experiment
from autoprune.techniques.sparsity.permutation import wished

__all__ = ["stages_of"]


def stages_of(clock: Clock, times: TargetTimes | None, work: Work) -> list[PlannedStage]:
    """What the job does, in order.

    Args:
        clock: Single steps of training and search.
        times: Single steps on the target; None of one that takes long to make a network ready, where only what timing
            may take is known.
        work: Which job.
    """
    made = _Stages(clock, times, work)
    before, search, after = list(made.before()), list(made.search()), list(made.after())
    last = [] if work is Work.SEARCH else [made.verification(sum(each.seconds for each in (*before, *search, *after)))]
    drop = clock.experiment.accuracy_drop is not None
    return [*made.profile(), *before, *(_repeated(each) if drop else each for each in (*search, *last, *after))]


def _repeated(stage: PlannedStage) -> PlannedStage:
    """A stage of every job of a bisection, which the episodes are shared among."""
    times = 1 if stage.name.startswith("search") else STEPS
    return replace(stage, seconds=times * stage.seconds, source=f"{stage.source}; {STEPS} jobs")


@dataclass(frozen=True)
class _Stages:
    clock: Clock
    times: TargetTimes | None
    work: Work

    @property
    def _effort(self) -> Effort:
        return effort_of(self.clock.experiment)

    @property
    def _timed(self) -> bool:
        experiment = self.clock.experiment
        timed = any(each.metric.timed for each in parsed_budgets(experiment.requested_budgets))
        return experiment.accuracy_drop is not None or timed

    @property
    def _bound(self) -> str:
        return f"--timing {self.clock.experiment.timing}"

    def profile(self) -> Iterator[PlannedStage]:
        """The latency table."""
        if not self._timed:
            return
        if self.times is None:
            yield PlannedStage("profile of the target", self._effort.of_profile, f"at most, by {self._bound}")
            return
        seconds = profile_seconds(self.times, self._effort)
        what = f"{self.times.layers} layers at {self.times.layer:.2f} s, networks at {self.times.network:.2f} s"
        yield PlannedStage("profile of the target", seconds, f"{what}, bounded by {self._bound}")

    def before(self) -> Iterator[PlannedStage]:
        """Trainings before the search."""
        clock, task, experiment = self.clock, self.clock.task, self.clock.experiment
        if not task.trained:
            epochs = experiment.train_epochs or task.data.dense_epochs
            yield self._training("training of the dense network", epochs, lambda: clock.dense_step)
        elif experiment.slim:
            epochs = max(1, final_epochs(experiment, task.data))
            yield self._training("training for the scales that rank units", epochs, lambda: clock.dense_step)
        technique = wished(clock.stack.techniques)
        if technique is not None:
            yield PlannedStage("order of units", technique.settings.permute, "at most; its proof comes on top")
        if experiment.candidate_weights == Elastic.name:
            yield self._training("training of all widths", experiment.elastic_epochs, lambda: clock.elastic_step)

    def search(self) -> Iterator[PlannedStage]:
        """Single cuts and episodes; steps of progressive pruning."""
        if self.work is Work.PROGRESSIVE:
            yield self._steps()
            return
        clock, experiment = self.clock, self.clock.experiment
        kind, one = agents.get(experiment.agent), clock.candidate
        points = points_of_curves(kind, experiment.episodes, len(clock.space))
        if points:
            cuts = 1 + sum(len(tried_options(decision, points)) for decision in clock.space.decisions)
            yield PlannedStage("single cuts", cuts * one, f"{cuts} candidates, one timed at {one:.2f} s")
        episodes = 1 if kind.is_baseline else experiment.episodes
        one, together = clock.candidate_of_round, _together(experiment)
        seconds = clock.fitting + episodes * (one / together + clock.episode)
        source = f"{episodes} episodes, one timed at {one:.2f} s and the agent at {clock.episode:.2f} s"
        source += f"; {together} at the same time" if together > 1 else ""
        source += "; workers that join come on top" if experiment.storage is not None else ""
        yield PlannedStage(f"search with {experiment.agent}", seconds, source)

    def after(self) -> Iterator[PlannedStage]:
        """Fine-tuning and the test split."""
        if self.work is Work.SEARCH:
            return
        clock, experiment = self.clock, self.clock.experiment
        last, seeds = final_epochs(experiment, clock.task.data), experiment.finetune_seeds
        finalists = 0 if self.work is Work.PROGRESSIVE else experiment.finalists + 1
        together = min(_processors(), at_a_time(experiment, device_of(clock.task.model), max(finalists, 2 * seeds)))
        epochs = epochs_of_compress(finalists, last, seeds, together)
        compared = sum(each.finalists for each in rounds_of(finalists, last)) * clock.candidate
        tuning = self._training("fine-tuning", epochs, lambda: clock.tuning_step)
        source = f"{tuning.source}; {together} networks at the same time" if together > 1 else tuning.source
        yield replace(tuning, seconds=tuning.seconds + compared, source=source)
        seconds = clock.tested(clock.task.model) + (1 + 2 * seeds) * clock.tested(clock.small)
        yield PlannedStage("test", seconds, f"{2 + 2 * seeds} networks, one batch of each kind timed")

    def verification(self, others: float) -> PlannedStage:
        """Networks on the target."""
        if self.times is None:
            seconds = self._effort.seconds - self._effort.of_profile
            return PlannedStage("verification on the target", seconds, f"at most, by {self._bound}")
        searched = self.work is Work.COMPRESS
        seconds = verification_seconds(self.times, self._effort, timed=self._timed, searched=searched, others=others)
        source = f"networks at {self.times.network:.2f} s"
        return PlannedStage("verification on the target", seconds, f"{source}, bounded by {self._bound}")

    def _training(self, name: str, epochs: int, timed: Callable[[], float]) -> PlannedStage:
        if not epochs:
            return PlannedStage(name, 0.0, "no epochs")
        step, steps = timed(), self.clock.steps
        return PlannedStage(name, epochs * steps * step, f"{epochs} epochs of {steps} steps, one timed at {step:.3f} s")

    def _steps(self) -> PlannedStage:
        """Steps until the budget's share is reached, each with a proposal for every decision and a short training."""
        clock, experiment = self.clock, self.clock.experiment
        (budget,) = parsed_budgets(experiment.requested_budgets)
        if not budget.relative:
            return PlannedStage("steps", math.inf, "how many depends on the dense network's cost")
        first, left, count = float(experiment.step.removesuffix("%")) / 100, 1 - budget.amount, 0
        while left > 1e-9:
            left -= reduction_share(count, first, experiment.step_decay)
            count += 1
        batches = experiment.step_batches or experiment.step_epochs * clock.steps
        proposals = len(clock.space)
        timed = 0.0 if self.times is None else self.times.start + 2 * self.times.network + self.times.pack
        each = proposals * clock.candidate + batches * clock.tuning_step + timed
        source = f"about {count} steps of {proposals} candidates and {batches} training steps, one of each timed"
        return PlannedStage("steps", count * each, source)


def _together(experiment: Experiment) -> int:
    """Candidates that are scored at the same time by what this process starts, each on a processor of its own."""
    here = _processors()
    if experiment.ray is None:
        return min(experiment.workers, here)
    wanted = here if experiment.workers == 1 else experiment.workers
    return min(wanted, experiment.episodes_at_once, here if experiment.ray == "local" else wanted)


def _processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
