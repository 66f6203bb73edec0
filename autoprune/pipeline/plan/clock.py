"""Single steps of a job, timed on copies: of training, of scoring, of an agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from autoprune import agents
from autoprune.cost import AdditiveCost
from autoprune.cost.budget import Budget, parsed_budgets
from autoprune.cost.macs import macs_cost
from autoprune.cost.params import params_cost
from autoprune.criteria.registry import criterion_of
from autoprune.envs import PruningEnv, amc_features, largest_uniform
from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.foundations.seeding import seeded
from autoprune.foundations.threads import use_threads
from autoprune.foundations.user_code import UserBatches
from autoprune.graph import Analysis
from autoprune.models.copying import isolated
from autoprune.pipeline.finish.all_widths import network_of_all_widths
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.finish.trainings import student
from autoprune.pipeline.preflight.reading import first_batches, randomness_kept
from autoprune.pipeline.task import Task
from autoprune.reconstruction.candidate_weights import CandidateWeights, Fitting
from autoprune.reconstruction.registry import CANDIDATE_WEIGHTS
from autoprune.run.experiment import Experiment
from autoprune.space import SearchSpace
from autoprune.techniques.base import Calibration
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.scoring import Scorer
from autoprune.techniques.stack import Stack
from autoprune.training import Trainer
from autoprune.training.elastic import SandwichLoss
from autoprune.training.recipe import Recipe
from autoprune.training.trainer import count_batches

__all__ = ["Clock", "counted_cost"]

_STEPS = 3  # of each kind that are timed; the first warms up
_EPISODES = 4  # that the agent plays, of which the last is timed


class Clock:
    """Single steps of a job, each timed once, on copies.

    The network that is timed in place of those that a search finds is the uniform one on the budget.

    Args:
        task: Left as it is.
        experiment: The settings.
        analysis: Of its network.
        space: Its decisions.
    """

    def __init__(self, task: Task, experiment: Experiment, analysis: Analysis, space: SearchSpace) -> None:
        self.task, self.experiment, self.analysis, self.space = task, experiment, analysis, space
        start = time.perf_counter()
        learns = Calibration(criterion_of(experiment.criterion), task.data.calibration, task.loss, task.reader)
        self.stack = Stack(techniques_of(experiment.technique_names), analysis, space).fit(task.model, learns)
        self._ranking = time.perf_counter() - start
        self.choices = _near_budget(experiment, analysis, space)
        self.small = self.stack.apply(task.model, self.choices)
        self.batches = first_batches(task.data)
        self.steps = count_batches(task.data.train)
        self.recipe = Recipe.chosen(experiment, attention=analysis.has_attention)

    @cached_property
    def dense_step(self) -> float:
        """Seconds of a step of the dense network's training, its batch read."""
        settings = self.recipe.dense(1, 0)
        return self._step(
            lambda batches: Trainer(
                isolated(self.task.model), batches, settings, loss=self.task.loss, reader=self.task.reader
            )
        )

    @cached_property
    def tuning_step(self) -> float:
        """Seconds of a step of fine-tuning, its batch read; 0 where an own loop trains, which is not called."""
        if self.task.finetune is not None:
            return 0.0
        settings = self.recipe.finetune(1, 0)
        return self._step(lambda batches: student(self.task, isolated(self.small), batches, settings, None))

    @cached_property
    def elastic_step(self) -> float:
        """Seconds of a step of the training of all widths."""
        network = network_of_all_widths(isolated(self.task.model), self.analysis, self.space, self._first_units)
        settings, loss = self.recipe.plain(1, 0), SandwichLoss(self.task.loss)
        return self._step(lambda batches: Trainer(network, batches, settings, loss=loss, reader=self.task.reader))

    def _first_units(self, choices: Mapping[str, int]) -> dict[str, list[int]]:
        """The first units of every group stand for the most important ones."""
        return {name: list(range(units)) for name, units in self.space.units(choices).items()}

    def _step(self, trainer_on: Callable[[Iterable[Any]], Trainer]) -> float:
        marks: list[float] = []
        trainer = trainer_on([self.batches["train"]] * _STEPS)
        trainer.run(1, on_step=lambda *_: marks.append(time.perf_counter()))
        return (marks[-1] - marks[0]) / (len(marks) - 1) + self.reading

    @cached_property
    def reading(self) -> float:
        """Seconds in which the train split gives a batch; 0 of a stream, which is not used up for it."""
        train = self.task.data.train
        if isinstance(train, UserBatches) and not train.can_be_read_again:
            return 0.0
        with randomness_kept(train):
            start, marks = time.perf_counter(), [time.perf_counter() for _ in zip(range(_STEPS), train, strict=False)]
        return (marks[-1] - (marks[0] if len(marks) > 1 else start)) / max(1, len(marks) - 1)

    @cached_property
    def fitting(self) -> float:
        """Seconds until units are ranked, candidates have their weights and the search split is in memory."""
        return self._ranking + _seconds_of(lambda: (self._weights, self.task.search_parts))

    @cached_property
    def candidate(self) -> float:
        """Seconds of a candidate: the weights that it is given, and its score on the episodes' part of the split."""
        return self._one_candidate()

    def _one_candidate(self) -> float:
        part = self.task.search_parts[0]
        scorer = Scorer(self.stack.candidates(self.task.model), self._weights, part, self.task.score)
        scorer.network(self.choices)  # the first one warms up
        given = _seconds_of(lambda: scorer.network(self.choices))
        network = scorer.network(self.choices)
        return given + self._scored(partial(self.task.score, network), part[0], part, len(part))

    @cached_property
    def candidate_of_round(self) -> float:
        """The same in a round of several, whose candidates have one thread each."""
        if self.experiment.episodes_at_once == 1 or torch.get_num_threads() == 1:
            return self.candidate
        with use_threads(1):
            return self._one_candidate()

    @cached_property
    def _weights(self) -> CandidateWeights:
        """As the job gives them; of a network of all widths those of the dense one stand for those after training."""
        model, data = self.task.model, self.task.data
        given = Fitting(model, data.calibration, self.task.reader, lambda: dict(model.named_parameters()))
        return CANDIDATE_WEIGHTS.get(self.experiment.candidate_weights)(given)

    def tested(self, model: nn.Module) -> float:
        """Seconds of a network's score on the test split, from its first batch."""
        test = self.task.data.test
        score = partial(reported_score, self.task, model)
        return self._scored(score, self.batches["test"], test, count_batches(test))

    def _scored(self, score: Callable[[Iterable[Any]], float], first: Any, batches: Iterable[Any], count: int) -> float:
        """Seconds of a score, from its first batch; of all, where one is too few for it.

        What a score of the user's own takes whatever it is given is told by the first batch three times over.
        """
        try:
            one = _seconds_of(lambda: score([first]))
        except InputError:
            return _seconds_of(lambda: score(batches))
        if count == 1 or self.task.evaluate is accuracy:
            return count * one
        return one + (count - 1) * max(0.0, _seconds_of(lambda: score([first] * 3)) - one) / 2

    @cached_property
    def episode(self) -> float:
        """Seconds that the agent itself takes for an episode, played on multiply-accumulates with one score for all."""
        cost, kind = macs_cost(self.analysis, self.space), agents.get(self.experiment.agent)
        env = PruningEnv(
            self.space,
            cost,
            (cost.least()[0] + cost.dense) / 2,
            lambda _: 0.5,
            amc_features(self.analysis, self.space),
            shows_limit=self.experiment.front,
        )
        options = agents.options_of(self.experiment.agent, front=self.experiment.front)
        with seeded(0):
            agent = kind(env, episodes=_EPISODES, warmup=1, **options)
            marks = [time.perf_counter()]
            while not agent.finished:  # some have one policy only
                agent.episode(agent.played)
                marks.append(time.perf_counter())
        return marks[-1] - marks[-2]


def counted_cost(budget: Budget, analysis: Analysis, space: SearchSpace) -> AdditiveCost | None:
    """The cost of a budget that can be counted without a target; None of another."""
    known = {"flops": macs_cost, "params": params_cost}
    return known[budget.kind](analysis, space) if budget.kind in known else None


def _near_budget(experiment: Experiment, analysis: Analysis, space: SearchSpace) -> dict[str, int]:
    """The uniform policy at the budgets; where one is of no count, at its share of the multiply-accumulates."""
    half = {decision.name: decision.nearest(decision.width / 2) for decision in space.decisions}
    if experiment.accuracy_drop is not None:
        return half
    macs = macs_cost(analysis, space)
    found = []
    for budget in parsed_budgets(experiment.requested_budgets):
        counted = counted_cost(budget, analysis, space)
        cost = counted or macs
        known = counted is not None or budget.relative
        found.append(largest_uniform(cost, budget.limit(cost.dense)) if known else None)
    return min((each or half for each in found), key=macs.cost)


def _seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
