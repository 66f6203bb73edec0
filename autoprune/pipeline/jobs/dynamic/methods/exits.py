"""`--method exits`: heads inside the network, at which inputs that are sure leave it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from autoprune.dynamic_networks.flow import Flow, flow_of
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.dynamic_networks.staged import STAGES, save_stages
from autoprune.dynamic_networks.thresholds import NEVER, Answers, Choice, PathTimes
from autoprune.early_exit.confidence.registry import confidences_named
from autoprune.early_exit.files import load_heads, save_heads, save_network
from autoprune.early_exit.fit import Cut, answers_on, fitted_heads
from autoprune.early_exit.heads import ExitHead, HeadTraining
from autoprune.early_exit.network import DynamicNetwork, Exit
from autoprune.early_exit.onnx_file import Parts, nested_file, parts_of
from autoprune.early_exit.places import places_of
from autoprune.early_exit.staged import exit_stages
from autoprune.errors import AutopruneError, UnsupportedModelError
from autoprune.hardware.timing.effort import effort_named
from autoprune.models import output_of
from autoprune.models.inputs.example import as_example
from autoprune.pipeline.jobs.dynamic.choosing import candidates, require_reachable
from autoprune.pipeline.jobs.dynamic.deadlines import anytime_candidates, anytime_rows, deadlines_of
from autoprune.pipeline.jobs.dynamic.methods.base import Files, Method, Offer
from autoprune.pipeline.jobs.dynamic.methods.routed import Routed
from autoprune.pipeline.jobs.dynamic.paths import local_target, path_times
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["Exits", "WithExits", "classes_of", "heads_of", "times_of_places"]


class Exits(Method):
    """Early exits; nothing of the network itself changes."""

    name = "exits"
    written: ClassVar[tuple[str, ...]] = (
        "heads.safetensors",
        "network.safetensors",
        "exit_heads.safetensors",
        "exits.json",
        "stages/",
    )

    def check(self, experiment: Experiment) -> None:
        """Kinds of confidence are known."""
        confidences_named(experiment.confidence)

    def offer(self, task: Task, experiment: Experiment, flow: Flow) -> Offer:
        """Places; each is timed open and shut."""
        count = len(places_of(flow))
        return Offer("exit", count, 1 + 2 * count, 2 + min(count, experiment.exits))

    def prepare(self, task: Task, run: RunDir, reporter: Reporter) -> WithExits:
        """Find places, time an exit at each, train the heads."""
        with reporter.stage("analyse", "looking for places to leave the network"):
            flow = flow_of(task.model, task.example)
            cut = Cut(task.model, flow, places_of(flow), task.reader)
        reporter.say(f"{len(cut.places)} places: {', '.join(place.name for place in cut.places)}")
        times = times_of_places(task, run, cut, reporter)
        require_reachable(times, run.experiment, "the first exit alone", "with one exit it")
        run.mark_started()
        return WithExits(task, run, cut, heads_of(task, run, cut, reporter), times, reporter)


class WithExits(Routed):
    """A network with a trained head at every place.

    Args:
        task: The network and its data.
        run: Its settings have the limits.
        cut: The network, cut at every place.
        heads: One a place.
        times: Of the places.
        reporter: Shows the stages.
    """

    probability = "max"

    def __init__(
        self, task: Task, run: RunDir, cut: Cut, heads: list[ExitHead], times: PathTimes, reporter: Reporter
    ) -> None:
        super().__init__(task, run, cut.flow, times, [place.name for place in cut.places], reporter)
        self._cut, self._heads, self._times = cut, heads, times
        self._exported: dict[tuple[int, ...], Parts] = {}

    def answers(self, batches: Iterable[Any]) -> Answers:
        """Of every head."""
        return answers_on(self._cut, self._heads, batches)

    def choices(self) -> Iterable[Choice]:
        """Of deadlines the sets of exits; else every tuple of thresholds, for every kind of confidence allowed."""
        search = self.search.only(confidences_named(self.settings.confidence))
        if self.settings.anytime:
            return anytime_candidates(search, self._times, self.settings)
        with self.reporter.stage("search", "trying every tuple of thresholds"):
            return candidates(search, self.times, self.settings)

    def files(self, choice: Choice) -> Files:
        """Nested `If`s."""
        parts = self._parts(choice.places)
        count = len(choice.places)
        forced = [[0.0 if k == taken else NEVER for k in range(count)] for taken in range(count + 1)]
        paths = tuple(nested_file(parts, choice.confidence, thresholds) for thresholds in forced)
        return Files(nested_file(parts, choice.confidence, choice.thresholds), paths)

    def _parts(self, places: tuple[int, ...]) -> Parts:
        """Exported once a set of exits: it takes seconds."""
        if places not in self._exported:
            nodes = [self._cut.places[place].node for place in places]
            self._exported[places] = parts_of(self.flow, nodes, [self._heads[place] for place in places])
        return self._exported[places]

    def forced(self, choice: Choice, inputs: Sequence[Sequence[Tensor]]) -> tuple[dict[str, float], ...]:
        """Every path forced upon a stream of inputs."""
        return tuple(deadlines_of(local_target(self.run), self._parts(choice.places), choice.confidence, inputs))

    def network(self, verified: Verified, expected: Sequence[int]) -> DynamicNetwork:
        """The network that leaves."""
        choice, places = verified.choice, self._cut.places
        exits = [
            Exit(places[place].name, places[place].node, threshold)
            for place, threshold in zip(choice.places, choice.thresholds, strict=True)
        ]
        heads = [self._heads[place] for place in choice.places]
        deadlines = [each["deadline_ms"] for each in verified.deadlines]
        network = DynamicNetwork(self.flow, exits, heads, choice.confidence, expected=expected, deadlines_ms=deadlines)
        return network.eval()

    def save(self, network: DynamicModule, verified: Verified, folder: Path) -> None:
        """Dense weights, heads, exits; the stages for runtimes without `If`."""
        if not isinstance(network, DynamicNetwork):
            raise AutopruneError("internal error: not the network of this method")
        save_network(network, self._cut.model, folder)
        choice = verified.choice
        stages = exit_stages(self._parts(choice.places), choice.confidence, choice.thresholds)
        save_stages(stages, choice.confidence, choice.shares, folder / STAGES)

    def pictured(self, verified: Verified) -> dict[str, Any]:
        """Deadlines too, where they were asked for."""
        found = super().pictured(verified)
        if verified.deadlines:
            found["deadlines"] = anytime_rows(verified.choice, self.names, self.test, verified.deadlines)
        return found

    def offered(self) -> dict[str, Any]:
        """All places, with their times."""
        return {
            "places": [asdict(place) | {"shape": list(place.shape)} for place in self._cut.places],
            "place_ms": {"leaves": list(self._times.leaves), "passed": list(self._times.passed)},
        }


def times_of_places(task: Task, run: RunDir, cut: Cut, reporter: Reporter, key: str = "dynamic paths") -> PathTimes:
    """What leaving at each place takes on the target, measured once a run.

    Args:
        task: Of the network that is cut.
        run: Keeps the times.
        cut: The network.
        reporter: Shows progress.
        key: Under which they are kept.
    """
    classes = classes_of(task)

    def session() -> dict[str, Any]:
        heads = [ExitHead(place.shape, classes).eval() for place in cut.places]
        target = local_target(run)
        dense = target.pack(task.model, task.example)
        effort = effort_named(run.experiment.timing)
        return asdict(path_times(cut.flow, cut.places, heads, dense, target, effort, bar))

    with reporter.stage("profile", "timing an exit at every place") as bar:
        found = run.once(key, session)
    return PathTimes(found["dense"], tuple(found["leaves"]), tuple(found["passed"]))


def classes_of(task: Task) -> int:
    """How many classes a network tells apart.

    Raises:
        UnsupportedModelError: If its output is no row of scores.
    """
    with torch.no_grad():
        output = output_of(as_example(task.example).run(task.model))
    if output.ndim != 2 or output.shape[1] < 2:
        raise UnsupportedModelError(
            f"dynamic networks are for classification, not outputs of shape {list(output.shape)}"
        )
    return int(output.shape[1])


def heads_of(task: Task, run: RunDir, cut: Cut, reporter: Reporter) -> list[ExitHead]:
    """A trained head for every place; read back where the run has them."""
    path, settings = run.file("heads.safetensors"), run.experiment
    if not path.exists():
        training = HeadTraining(epochs=settings.head_epochs, seed=settings.seed)
        with reporter.stage("train", "training the heads; the network stays as it is") as bar:
            save_heads(fitted_heads(cut, task.data.train, training, most=settings.head_samples, progress=bar), path)
    return load_heads(cut.places, classes_of(task), path)
