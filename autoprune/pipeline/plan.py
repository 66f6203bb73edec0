"""What a job would do, about how long it would take, and what it would write: `--dry-run`. Nothing is written."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import nn

from autoprune import agents
from autoprune.cost.budget import Budget
from autoprune.cost.macs import macs_cost
from autoprune.cost.metrics import metric_of
from autoprune.cost.params import params_cost
from autoprune.graph import Analysis, analyse
from autoprune.hardware import TimingPlan, measure
from autoprune.models.copying import isolated
from autoprune.pipeline.allowance import effort_of
from autoprune.pipeline.device import target_of
from autoprune.pipeline.preflight.reading import first_batches
from autoprune.pipeline.problem import figure, space_for
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.reconstruction.candidate_weights import Fitting, Recalibrated, Reconstructed
from autoprune.reports.format import duration
from autoprune.run.experiment import Experiment
from autoprune.space import SearchSpace
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.stack import Stack
from autoprune.training import Trainer
from autoprune.training.recipe import Recipe
from autoprune.training.trainer import count_batches

__all__ = ["Plan", "PlannedStage", "Work", "plan_of"]

_STEPS = 3  # training steps that are timed; the first warms up


class Work(Enum):
    """What is planned: a search alone, one with fine-tuning, or pruning in measured steps."""

    SEARCH = "search"
    COMPRESS = "compress"
    PROGRESSIVE = "progressive"


@dataclass(frozen=True)
class PlannedStage:
    """A part of the job.

    Attributes:
        name: What it does.
        seconds: About how long; infinite where nothing bounds it.
        source: Where the estimate comes from.
    """

    name: str
    seconds: float
    source: str


@dataclass(frozen=True)
class Plan:
    """What a job would do.

    Attributes:
        model: The network's name.
        decisions: How many of each kind.
        frozen: Layers that stay, and why.
        budget: What is asked for, and what is known of its range.
        stages: In order, with estimated seconds.
        written: Files of the run's folder.
        run: That folder.
    """

    model: str
    decisions: Mapping[str, int]
    frozen: Mapping[str, str]
    budget: str
    stages: tuple[PlannedStage, ...]
    written: tuple[str, ...]
    run: str

    @property
    def seconds(self) -> float:
        """Of all stages together."""
        return sum(stage.seconds for stage in self.stages)

    def __str__(self) -> str:
        """The plan for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        kinds = ", ".join(f"{count} of kind {kind}" for kind, count in self.decisions.items())
        yield f"plan for {self.model}: {sum(self.decisions.values())} decisions ({kinds}); {len(self.frozen)} frozen"
        yield f"budget: {self.budget}"
        for stage in self.stages:
            yield f"  {stage.name}: {_about(stage.seconds)} ({stage.source})"
        yield f"in all: {_about(self.seconds)}"
        yield f"would be written to {self.run}: {', '.join(self.written)}"


def plan_of(
    task: Task, experiment: Experiment, reporter: Reporter, work: Work = Work.COMPRESS, *, onnx: bool = False
) -> Plan:
    """Lay out a job whose preflight has passed; a step of training and a candidate's score are timed on copies.

    Args:
        task: Left as it is.
        experiment: The settings.
        reporter: Shows the stage.
        work: Which job.
        onnx: Whether model.onnx is written.
    """
    with reporter.stage("plan", "analysing and timing single steps"):
        analysis = analyse(task.model, task.example, blocks=experiment.constraints.gates)
        multiple = experiment.constraints.granularity or 1  # which widths the target likes is probed in the job
        space = space_for(experiment, analysis, target_of(experiment), multiple, task.name)
        stages = tuple(_stages(_Clock(task, experiment, analysis, space), work))
        return Plan(
            task.name,
            dict(Counter(decision.kind for decision in space.decisions)),
            dict(space.frozen),
            _budget(task, experiment, analysis, space),
            stages,
            _written(experiment, work, onnx=onnx),
            str(experiment.run_dir),
        )


class _Clock:
    """Single steps of a job, timed once on copies; the small network has half of every width."""

    def __init__(self, task: Task, experiment: Experiment, analysis: Analysis, space: SearchSpace) -> None:
        self.task, self.experiment = task, experiment
        self.stack = Stack(techniques_of(experiment.technique_names), analysis, space)
        self.half = {decision.name: decision.nearest(decision.width / 2) for decision in space.decisions}
        self.small = self.stack.apply(task.model, self.half)
        self.batches = first_batches(task.data)
        self.steps = count_batches(task.data.train)
        self.recipe = Recipe.chosen(experiment, attention=False)

    @property
    def teacher(self) -> nn.Module | None:
        """Who teaches in fine-tuning."""
        return self.task.model if self.task.loss is None else None

    def step(self, model: nn.Module, teacher: nn.Module | None) -> float:
        """Seconds of a training step; 0 where an own loop trains, which is not called."""
        if self.task.finetune is not None:
            return 0.0
        marks: list[float] = []
        settings = self.recipe.finetune(1, 0)
        repeated = [self.batches["train"]] * _STEPS
        trainer = Trainer(isolated(model), repeated, settings, teacher=teacher, loss=self.task.loss)
        trainer.run(1, on_step=lambda *_: marks.append(time.perf_counter()))
        return (marks[-1] - marks[0]) / (len(marks) - 1)

    def candidate(self) -> float:
        """Seconds of a candidate: the weights that it is given, and its score on three fifths of the search split."""
        given = Fitting(self.task.model, self.task.data.calibration, self.task.reader)
        refits = self.experiment.candidate_weights == Reconstructed.name
        weights = (Reconstructed if refits else Recalibrated)(given)
        start = time.perf_counter()
        small = isolated(self.small)
        weights.prepare(small, self.stack.slices(self.half))
        return time.perf_counter() - start + 0.6 * self.scored("search", small)

    def scored(self, split: str, model: nn.Module) -> float:
        """Seconds of a network's score on a split, from its first batch."""
        start = time.perf_counter()
        self.task.score(model, [self.batches[split]])
        return (time.perf_counter() - start) * count_batches(getattr(self.task.data, split))


def _stages(clock: _Clock, work: Work) -> Iterator[PlannedStage]:
    task, experiment = clock.task, clock.experiment
    effort, timed = effort_of(experiment), metric_of(Budget.parse(*experiment.requested_budget).kind).timed
    if timed:
        bound = f"at most, by --timing {experiment.timing}"
        yield PlannedStage("profile of the target", effort.of_profile, bound)
    if not task.trained:
        epochs = experiment.train_epochs or task.data.dense_epochs
        seconds = epochs * clock.steps * clock.step(task.model, None)
        yield PlannedStage("training of the dense network", seconds, _by_steps(epochs, clock.steps))
    if work is Work.PROGRESSIVE:
        yield _progressive_steps(clock)
    else:
        yield _search(clock)
    if work is Work.SEARCH:
        return
    if timed:
        yield PlannedStage("verification on the target", effort.seconds - effort.of_profile, bound)
    last = experiment.finetune_epochs
    last = max(1, task.data.dense_epochs // 2) if last is None else last
    finalists = 0 if work is Work.PROGRESSIVE else experiment.finalists + 1
    epochs = _tournament_epochs(finalists, last) + 2 * last * experiment.finetune_seeds
    seconds = epochs * clock.steps * clock.step(clock.small, clock.teacher) if epochs else 0.0
    yield PlannedStage("fine-tuning", seconds, _by_steps(epochs, clock.steps))
    seconds = clock.scored("test", task.model) + 3 * clock.scored("test", clock.small)
    yield PlannedStage("test", seconds, "four networks, one batch of each kind timed")


def _search(clock: _Clock) -> PlannedStage:
    experiment, one = clock.experiment, clock.candidate()
    episodes = 1 if agents.get(experiment.agent).is_baseline else experiment.episodes
    source = f"{episodes} episodes, one timed at {one:.2f} s"
    return PlannedStage(f"search with {experiment.agent}", episodes * one, source)


def _progressive_steps(clock: _Clock) -> PlannedStage:
    """Steps until the budget's share is reached, each with a proposal for every decision and a short training."""
    experiment, one = clock.experiment, clock.candidate()
    budget = Budget.parse(*experiment.requested_budget)
    if not budget.relative:
        return PlannedStage("steps", math.inf, "how many depends on the dense network's cost")
    first, left, count = float(experiment.step.removesuffix("%")) / 100, 1 - budget.amount, 0
    while left > 1e-9:
        left -= max(first * experiment.step_decay**count, first / 4)
        count += 1
    batches = experiment.step_batches or experiment.step_epochs * clock.steps
    each = len(clock.half) * one + batches * clock.step(clock.small, clock.teacher)
    source = f"about {count} steps of {len(clock.half)} candidates and {batches} training steps, one of each timed"
    return PlannedStage("steps", count * each, source)


def _by_steps(epochs: int, steps: int) -> str:
    return f"{epochs} epochs of {steps} steps, one step timed"


def _tournament_epochs(candidates: int, epochs: int) -> int:
    """Epochs of all rounds in which the better half of the finalists stays."""
    total, short, left = 0, max(1, round(epochs / 10)), candidates
    while left > 1 and epochs > 0:
        total, left, short = total + left * short, max(1, left // 2), min(epochs, 2 * short)
    return total


def _budget(task: Task, experiment: Experiment, analysis: Analysis, space: SearchSpace) -> str:
    """What is asked for, and what is known of its range before anything is profiled."""
    if experiment.accuracy_drop is not None:
        return f"a loss of at most {experiment.accuracy_drop:g}; the fastest network that keeps it is searched for"
    budget = Budget.parse(*experiment.requested_budget)
    counted: dict[str, Any] = {"flops": macs_cost, "params": params_cost}
    if budget.kind in counted:
        cost = counted[budget.kind](analysis, space)
        least = cost.least()[0]
        return (
            f"{budget}: at most {figure(budget.limit(cost.dense))} of {figure(cost.dense)} {cost.unit}; the least"
            f" reachable is {figure(least)} ({least / cost.dense:.0%})"
        )
    if not metric_of(budget.kind).timed:
        return f"{budget}; its range is known once it is priced"
    (dense,) = measure([task.model], task.timed_example, target_of(experiment), TimingPlan(seconds=5.0))
    return (
        f"{budget}: at most {figure(budget.limit(dense.ms))} of {figure(dense.ms)} ms, measured just now on"
        f" {experiment.target}; the least reachable is known after the profile"
    )


def _written(experiment: Experiment, work: Work, *, onnx: bool) -> tuple[str, ...]:
    rows = "steps.jsonl" if work is Work.PROGRESSIVE else "episodes.jsonl"
    files = ["experiment.yaml", rows, "tensorboard/", "checkpoint/", "policy.json"]
    if work is not Work.SEARCH:
        files += ["pruned.safetensors", "finetuned.safetensors", "report.json", "report.html"]
    if metric_of(Budget.parse(*experiment.requested_budget).kind).timed:
        files.append("latency_table.json")
    return (*files, *(["model.onnx"] if onnx else []))


def _about(seconds: float) -> str:
    return "as long as it takes" if math.isinf(seconds) else f"about {duration(seconds)}"
