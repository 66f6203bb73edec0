"""A network and its accelerator, searched together: from the chips' files to a network with masks and its chip."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import safetensors.torch
import torch
from torch import Tensor, nn

from autoprune import agents
from autoprune.agents.solvers.base import SolverAgent
from autoprune.criteria.registry import criterion_of
from autoprune.errors import AutopruneError, BudgetError, InputError, Stopped
from autoprune.foundations.files import replacing, write_json
from autoprune.hardware.accelerators.files import save_accelerator
from autoprune.models import save_weights
from autoprune.pipeline.finish.fine_tuning import train_small
from autoprune.pipeline.finish.keeping import Kept, better_of
from autoprune.pipeline.finish.lengths import final_epochs
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.codesign.begin import begun
from autoprune.pipeline.jobs.codesign.designs import cores_of
from autoprune.pipeline.jobs.codesign.finalists import chosen_of, simulated_point
from autoprune.pipeline.jobs.codesign.layers import masks_of_policy
from autoprune.pipeline.jobs.codesign.points import Point
from autoprune.pipeline.jobs.codesign.report import FRONT_SCHEMA, codesign_report
from autoprune.pipeline.jobs.codesign.searching import rows_of
from autoprune.pipeline.jobs.codesign.simulation import Finished
from autoprune.pipeline.jobs.codesign.study import Study
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.search import timed
from autoprune.pipeline.jobs.settings import CODESIGN, OF_CODESIGN
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import Policy
from autoprune.training.epochs import InEpochs

__all__ = ["CodesignJob"]


class CodesignJob(Job):
    """Price, search, choose, fine-tune under the masks, simulate what came out, report."""

    name = CODESIGN
    settings = OF_CODESIGN

    def check(self, experiment: Experiment) -> None:
        """Accelerators, their patterns, agent and criterion must be there."""
        check_target(experiment)
        designs = cores_of(experiment.replace(chips=1), experiment.seed)
        kind = agents.get(experiment.agent)
        agents.options_of(experiment.agent)
        criterion_of(experiment.criterion)
        if kind.name == "exact" and experiment.objective == "edp":
            raise InputError("exact solves sums, and energy times delay is a product; take ddpg, optuna or greedy")
        if experiment.chip_first and issubclass(kind, SolverAgent):
            raise InputError(f"{kind.name} solves sums chip by chip and decides on none; take ddpg or optuna")
        if experiment.searched == "hardware" and not any(design.searched for design in designs):
            raise InputError(
                "--search hardware: none of the accelerators' files names knobs; write them under 'search:', such as"
                " pe.count: [16, 32]"
            )

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Go on where the run stopped; the report comes last.

        Raises:
            BudgetError: If no chip is within the area, or no network within limit and loss.
            Stopped: If a time limit or a callback ends it; the best so far is kept.
        """
        reporter = timed(run, reporter)
        if final_epochs(run.experiment, task.data):
            require_trainable(task)
        study, workload = begun(task, run, reporter)
        try:
            study.carry_out()
        except Stopped:
            with suppress(BudgetError):  # what is there so far may lose too much
                if rows_of(run):  # else nothing but single ratios is scored, and not all of them
                    _keep(study, chosen_of(study))
            raise
        with reporter.stage("search", "simulating the finalists with their own activations"):
            point = chosen_of(study)
        policy, kept = _finished(study, point, reporter)
        with reporter.stage("test", "scoring on the test split"):
            content = codesign_report(study, Finished(point, kept, policy, workload))
        write_json(run.file("front.json"), {"schema": FRONT_SCHEMA, **{k: content[k] for k in _OF_FRONT}})
        write_json(run.file("report.json"), content)
        return Result(kept.network.eval(), policy, content, run.path)


_OF_FRONT = ("objective", "unit", "area_limit_mm2", "chosen", "front", "baselines")


def _keep(study: Study, point: Point) -> Policy:
    """Write what was chosen: the policy, its masks, the raw network, the chip."""
    arm, run = point.candidate.arm, study.run
    problem, choices = arm.problem, point.candidate.choices
    design = arm.designs[point.chip]
    policy = problem.stack.policy(
        choices,
        criterion=run.experiment.criterion,
        budget={"kind": "accuracy_drop", "requested": f"{run.experiment.accuracy_drop:g}"},
        predicted={"latency_ms": point.ms, "energy_mj": point.mj, "area_mm2": point.area},
        agent=run.experiment.agent,
        seed=run.experiment.seed,
    )
    save_weights(problem.prepared(choices).state_dict(), run.file("pruned.safetensors"))
    _save_masks(masks_of_policy(problem.stack, choices), run)
    save_accelerator(design.chip, run.file("accelerator.yaml"))
    policy.save(run.file("policy.json"))
    return policy


def _save_masks(masks: Mapping[str, Tensor], run: RunDir) -> None:
    """Name of a weight -> uint8 of its shape, 1 where it stays."""
    content = safetensors.torch.save({name: mask.to(torch.uint8).contiguous() for name, mask in masks.items()})
    with replacing(run.file("masks.safetensors")) as temporary:
        temporary.write_bytes(content)


def _finished(study: Study, point: Point, reporter: Reporter) -> tuple[Policy, Kept]:
    """The chosen network, fine-tuned under its masks, and the files of both."""
    arm, run = point.candidate.arm, study.run
    problem, choices = arm.problem, point.candidate.choices
    unit = f"{simulated_point(study, point).value:.4g} {study.on_any_chip(arm).cost.unit}"
    reporter.say(
        f"chosen: {problem.task.scored_as.text(point.candidate.score)} on the search split before fine-tuning,"
        f" {study.objective} {unit}, {point.area:.3g} mm2, {arm.family} on {arm.designs[point.chip].name}"
    )
    policy = _keep(study, point)
    network = problem.prepared(choices)
    epochs = final_epochs(run.experiment, problem.task.data)
    settings = problem.recipe.finetune(epochs, run.experiment.seed)
    batches = InEpochs(problem.task.data.train, first=(settings.seed + 1) * 100_003)
    constraint = problem.stack.constraint(network, choices)
    network = train_small(
        problem, network, "codesign", settings, batches, reporter, "fine-tuning under the masks", constraint
    )
    kept = Kept(network)
    if epochs:
        before = problem.prepared(choices)
        kept = better_of(problem, "codesign", settings.seed, before, network, reporter, "fine-tuning under the masks")
    _verify(masks_of_policy(problem.stack, choices), kept.network)
    save_weights(kept.network.state_dict(), run.file("finetuned.safetensors"))
    return policy, kept


def _verify(masks: Mapping[str, Tensor], network: nn.Module) -> None:
    """Masked weights are zero whatever training did.

    Raises:
        AutopruneError: Naming the weight.
    """
    for name, mask in masks.items():
        weight = network.get_parameter(name).detach()
        if bool(weight[~mask.to(weight.device)].any()):
            raise AutopruneError(f"internal error: {name} does not keep its mask after fine-tuning")
