"""A cut network with exits, ready to have its thresholds found: what `--kinds channels,exit` comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from autoprune import agents
from autoprune.dynamic_networks.batches import labels_of
from autoprune.dynamic_networks.flow import Flow, flow_of
from autoprune.dynamic_networks.thresholds import Answers, PathTimes
from autoprune.early_exit.fit import Cut
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.places import Place, places_of
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.models import output_of
from autoprune.pipeline.finish.lengths import final_epochs
from autoprune.pipeline.jobs.dynamic.joint.hooks import seen_by_hooks
from autoprune.pipeline.jobs.dynamic.joint.searching import Found, planned_exits, searched
from autoprune.pipeline.jobs.dynamic.joint.settings import width_experiment
from autoprune.pipeline.jobs.dynamic.joint.training import trained_together
from autoprune.pipeline.jobs.dynamic.methods.base import Offer
from autoprune.pipeline.jobs.dynamic.methods.exits import Exits, WithExits, heads_of, times_of_places
from autoprune.pipeline.jobs.dynamic.methods.registry import JOINT
from autoprune.pipeline.jobs.lifecycle import opened_run
from autoprune.pipeline.jobs.search import prepare
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import EXIT, Policy

__all__ = ["Joint", "WithWidths"]

_OFFERED = 4
"""Places that a search of widths and exits is offered: what lies behind each is priced for every set of them."""


class Joint(Exits):
    """Widths and places chosen by an agent together, thresholds solved for every candidate."""

    name = JOINT
    written = (*Exits.written, "steps/joint/")

    def check(self, experiment: Experiment) -> None:
        """There is something to cut, an exit to place, and a mean to keep."""
        super().check(experiment)
        others = [kind for kind in experiment.kinds if kind != EXIT.name]
        if EXIT.name not in experiment.kinds or not others:
            raise InputError(
                "widths and exits are searched together with --kinds channels,exit; else leave --kinds out"
            )
        if experiment.mean_latency is None:
            raise InputError("--kinds channels,exit searches within a mean: give --mean-latency, such as 40%")
        if experiment.anytime:
            raise InputError("anytime: deadlines are for exits alone; leave --kinds out")
        agents.get(experiment.agent)

    def offer(self, task: Task, experiment: Experiment, flow: Flow) -> Offer:
        """Places that a search can be offered, each timed open and shut."""
        count = len(_offered(Cut(task.model, flow, places_of(flow), task.reader)))
        return Offer(EXIT.name, count, 1 + 2 * count, 2 + min(count, experiment.exits))

    def prepare(self, task: Task, run: RunDir, reporter: Reporter) -> WithWidths:
        """Price, search, train together; then what every network with exits goes through.

        Raises:
            UnsupportedModelError: If no place is the output of a module.
            BudgetError: If the mean is out of reach.
        """
        with reporter.stage("analyse", "looking for places to leave the network"):
            flow = flow_of(task.model, task.example)
            cut = Cut(task.model, flow, places_of(flow), task.reader)
            offered = _offered(cut)
        times = times_of_places(task, run, replace(cut, places=offered), reporter)
        run.mark_started()
        with opened_run(width_experiment(run.experiment), resume=True) as opened:
            problem = prepare(task.fresh(), opened, reporter)
            exits = planned_exits(problem, offered, times)
            found = searched(problem, offered, exits, run.experiment, reporter)
            said = ", ".join(place.name for place in found.places) or "none"
            reporter.say(f"exits behind {said}; {found.accuracy:.2%} within the mean before training")
            settings = problem.recipe.finetune(final_epochs(run.experiment, task.data), run.experiment.seed)
            small = problem.prepared(found.widths)
            path = opened.file("together.safetensors")
            model = trained_together(small, found.places, problem.task, settings, path, reporter)
            policy = problem.policy(found.widths, run.experiment.agent)
        if not found.places:
            raise UnsupportedModelError(
                "the search places no exit: a static network does as well within this mean; use autoprune compress"
            )
        return _with_exits(task, run, model, found, policy, times.dense, reporter)


def _offered(cut: Cut) -> tuple[Place, ...]:
    """Places that a hook can read, spread over the network."""
    few = replace(cut, places=places_of(cut.flow, _OFFERED))
    found = seen_by_hooks(few) or seen_by_hooks(cut)[:_OFFERED]
    if not found:
        raise UnsupportedModelError(
            "widths and exits cannot be searched together: no place at which it can be left is the output of a module"
        )
    return tuple(found)


def _with_exits(
    task: Task, run: RunDir, model: nn.Module, found: Found, policy: Policy, dense_ms: float, reporter: Reporter
) -> WithWidths:
    """The trained network cut at its places; heads trained again, its paths timed."""
    wanted = {place.name for place in found.places}
    flow = flow_of(model, task.example)
    offered = (*places_of(flow, _OFFERED), *places_of(flow))
    known = {place.name: place for place in offered if place.name in wanted}
    places = tuple(sorted(known.values(), key=lambda place: place.share))
    if len(places) < len(wanted):
        raise UnsupportedModelError("an exit's place is gone from the cut network; choose other --kinds")
    cut, own_task = Cut(model, flow, places, task.reader), replace(task, model=model)
    times = times_of_places(own_task, run, cut, reporter, key="dynamic paths of the cut network")
    heads = heads_of(own_task, run, cut, reporter)
    own = replace(times, dense=dense_ms, whole=times.dense)
    return WithWidths(task, run, cut, heads, own, found, policy, reporter)


class WithWidths(WithExits):
    """A narrower network with exits; losses count from the dense one."""

    def __init__(
        self, task: Task, run: RunDir, cut: Cut, heads: list[ExitHead], times: PathTimes, found: Found, policy: Policy,
        reporter: Reporter,
    ) -> None:  # fmt: skip
        super().__init__(task, run, cut, heads, times, reporter)
        self._found, self._policy = found, policy

    def policy(self) -> Policy:
        """The widths."""
        return self._policy

    def answers(self, batches: Iterable[Any]) -> Answers:
        """Of every head and of the cut network, beside the dense one's."""
        kept = list(batches)
        found = super().answers(kept)
        right = []
        with torch.no_grad():
            for batch in kept:
                logits = output_of(self.task.reader.call(self.task.model, batch).run(self.task.model))
                right.append(logits.argmax(1) == labels_of(logits, batch))
        return replace(found, reference=torch.cat(right).cpu().numpy())

    def offered(self) -> dict[str, Any]:
        """The places, and what was searched."""
        found = self._found
        joint: dict[str, Any] = {"searched_accuracy": found.accuracy, "expected_ms": found.expected_ms}
        joint |= {
            "episodes": found.episodes,
            "agent": self.run.experiment.agent,
            "kept": dict(found.widths),
        }
        return super().offered() | {"joint": joint}
