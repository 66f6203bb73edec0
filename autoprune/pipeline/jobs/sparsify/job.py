"""Sparsification: masks of a pattern, a training that keeps them, and a report that tells four figures apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.cost.metrics import Timing
from autoprune.criteria.registry import criterion_of
from autoprune.errors import AutopruneError, InputError
from autoprune.foundations.files import write_json
from autoprune.masks.assigned import faults_of, masks_of
from autoprune.masks.base import Pattern
from autoprune.masks.compressed import is_two_of_four
from autoprune.masks.parsing import pattern_of
from autoprune.masks.unstructured import Unstructured
from autoprune.models import save_weights
from autoprune.models.copying import duplicate
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.search import prepare, timed
from autoprune.pipeline.jobs.settings import OF_SPARSIFY, SPARSIFY
from autoprune.pipeline.jobs.sparsify.chosen import chosen_weights, policy_of
from autoprune.pipeline.jobs.sparsify.figures import Networks, damages, sparse_report
from autoprune.pipeline.jobs.sparsify.given import OWN, given_masks, only_masked
from autoprune.pipeline.jobs.sparsify.kernels import kernel_rows
from autoprune.pipeline.jobs.sparsify.recipes import RECIPES, Pruned, Work, masked, one_shot, trained_under, with_masks
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.sessions import time_finished
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.trainings import TrainingOutcome
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.sparsity.saliency import saliencies_of

__all__ = ["SparsifyJob"]


class SparsifyJob(Job):
    """Mask, train, measure, report."""

    name = SPARSIFY
    settings = OF_SPARSIFY

    def check(self, experiment: Experiment) -> None:
        """Pattern, criterion and target must be there."""
        _check_layout(experiment.layout, pattern_of(experiment.pattern))
        _check_masks(experiment)
        techniques_of(experiment.technique_names)
        criterion_of(experiment.criterion)
        check_target(experiment)
        if experiment.finetune is not None and experiment.sparse_recipe not in ("one-shot", "asp", "gradual"):
            raise InputError(
                f"the recipe {experiment.sparse_recipe} takes part in every step of the built-in training, and"
                " --finetune is a loop of your own; use asp or gradual"
            )
        if experiment.train_baselines and experiment.sparse_recipe == "one-shot":
            raise InputError("--train-baselines trains them as the network is, and one-shot trains nothing; use asp")

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Go on where the run stopped; the report comes last."""
        experiment, reporter = run.experiment, timed(run, reporter)
        if experiment.sparse_recipe != "one-shot":
            require_trainable(task)
        fresh = None if task.trained else duplicate(task.model)
        problem = prepare(task, run, reporter)
        chosen, given = chosen_weights(problem), None
        if experiment.masks is not None:
            given = given_masks(problem, chosen, experiment.masks)
            chosen = only_masked(chosen, given)
        work = Work(problem, chosen, reporter, fresh, given)
        start = masked(work)
        finished, outcome = self._trained(work, start)
        self._verify(work, finished)
        baselines = self._baselines(work)
        networks = Networks(
            problem.task.model, start, finished, outcome, {**baselines, **self._trained_baselines(work, baselines)}
        )
        for name, network in (("pruned", start.network), ("finetuned", finished.network)):
            save_weights(network.state_dict(), run.file(f"{name}.safetensors"), experiment.layout)
        policy = policy_of(problem, finished.masks)
        policy.save(run.file("policy.json"))
        timings = self._timings(work, finished.network)
        lost = run.once("damage of each layer", lambda: damages(work, start.masks))
        kernels = kernel_rows(problem, finished.network, reporter)
        with reporter.stage("test", "scoring on the test split"):
            content = sparse_report(work, networks, timings, lost, kernels)
        write_json(run.file("report.json"), content)
        return Result(finished.network.eval(), policy, content, run.path)

    @staticmethod
    def _trained(work: Work, start: Pruned) -> tuple[Pruned, TrainingOutcome | None]:
        """By the run's recipe; where training lost score, the network is as one-shot leaves it."""
        recipe = work.problem.experiment.sparse_recipe
        finished = RECIPES[recipe](work, start)
        return (finished, None) if recipe == "one-shot" else work.better_of(recipe, one_shot(work, start), finished)

    @staticmethod
    def _verify(work: Work, finished: Pruned) -> None:
        """The pattern is promised; a network that breaks it is an error of ours.

        Raises:
            AutopruneError: Naming the weight and the place.
        """
        weights = {name: p.detach() for name, p in finished.network.named_parameters()}
        for name, fault in faults_of(work.chosen.assigned, weights).items():
            raise AutopruneError(
                f"internal error: {name} does not keep the pattern {work.chosen.pattern.name}: {fault}"
            )

    @staticmethod
    def _baselines(work: Work) -> Mapping[str, Pruned]:
        """Random masks of the same pattern, and where the share is of all layers together the same share of each."""
        model, assigned = work.problem.task.model, work.chosen.assigned
        drawn = saliencies_of(model, assigned, criterion_of("random"), {})
        found = {"random": with_masks(duplicate(model), masks_of(assigned, drawn))}
        pattern = work.chosen.pattern
        if isinstance(pattern, Unstructured) and pattern.across:
            each = {name: replace(one, pattern=replace(pattern, across=False)) for name, one in assigned.items()}
            fitted = work.problem.stack.fitted[work.problem.stack.techniques[0].name].saliencies
            found["uniform"] = with_masks(duplicate(model), masks_of(each, fitted))
        return {name: one_shot(work, one) for name, one in found.items()}

    @staticmethod
    def _trained_baselines(work: Work, baselines: Mapping[str, Pruned]) -> Mapping[str, Pruned]:
        """The same masks, each trained like the network that is compared with them; none unless that is wanted."""
        if not work.problem.experiment.train_baselines:
            return {}
        return {f"{name}_trained": trained_under(work, name, one.masks) for name, one in baselines.items()}

    @staticmethod
    def _timings(work: Work, network: nn.Module) -> dict[str, Timing]:
        """Dense and sparse network, interleaved on the target; read back if this run timed them before."""

        def session() -> dict[str, Any]:
            networks = {"dense": work.problem.task.model, "finetuned": network}
            return {name: asdict(timing) for name, timing in time_finished(work.problem, networks, bar).items()}

        with work.reporter.stage("verify", "timing dense and sparse network on the target") as bar:
            content = work.problem.run.once("sparsify timing", session)
        return {name: Timing(**each) for name, each in content.items()}


def _check_layout(layout: str, pattern: Pattern) -> None:
    if layout == "compressed" and not is_two_of_four(pattern):
        raise InputError(
            f"--layout compressed holds weights that are 2:4, and {pattern.name} need not be; write --layout dense"
        )


def _check_masks(experiment: Experiment) -> None:
    if experiment.masks is None:
        return
    if experiment.sparse_recipe not in ("one-shot", "asp"):
        raise InputError(f"--masks are kept as they are, and {experiment.sparse_recipe} chooses its own; use asp")
    if experiment.weight_update != "none" or experiment.permute:
        raise InputError("--masks are for the weights as they are: not with sparsegpt, nor with --permute")
    if experiment.masks != OWN and not Path(experiment.masks).is_file():
        raise InputError(f"there is no weights file {experiment.masks} for --masks (or write {OWN})")
