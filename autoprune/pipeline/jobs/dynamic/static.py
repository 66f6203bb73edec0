"""The best static network that a search finds at the same mean latency: what being dynamic has to beat."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from autoprune.errors import BudgetError
from autoprune.evaluation import accuracy
from autoprune.foundations.files import replacing
from autoprune.pipeline.jobs.base import Result
from autoprune.pipeline.jobs.compress import CompressJob
from autoprune.pipeline.jobs.dynamic.cascade import cascade_answers, cascade_of
from autoprune.pipeline.jobs.dynamic.joint.settings import static_kinds
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.pipeline.jobs.lifecycle import opened_run
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.space import Policy

__all__ = ["static_beside", "static_experiment", "static_figures", "take_over"]

_FILES = ("pruned.safetensors", "finetuned.safetensors")


def static_experiment(experiment: Experiment, share: float) -> Experiment:
    """The settings of the search for a static network.

    Args:
        experiment: Of the run with exits.
        share: Of the dense network's latency that it may take.
    """
    folder = str(experiment.run_dir / "steps" / "static")
    fields = Experiment.model_fields
    return experiment.replace(
        agent=fields["agent"].get_default(),
        latency=f"{math.floor(share * 1e4) / 100:g}%",
        episodes=experiment.static_episodes,
        finetune_epochs=experiment.static_epochs,
        kinds=static_kinds(experiment),
        finalists=2,
        finetune_seeds=1,  # the network itself is handed over, not the mean of several
        run=folder if "/" in folder else f"./{folder}",
    )


def static_beside(task: Task, run: RunDir, verified: Verified, reporter: Reporter) -> dict[str, Any] | None:
    """Search for, fine-tune and time a static network within the mean of the one with exits; once a run.

    Returns:
        Its accuracy on the test split, and on the search split, which decides; `reason` where there is none. None where
        no comparison is wanted.
    """
    settings = run.experiment
    if settings.static_episodes == 0 or settings.anytime:  # no static network has a deadline for every call
        return None
    step = static_experiment(settings, verified.mean_ms / verified.dense_ms)
    found: dict[str, Any] = run.once("static network", lambda: _found(task, step, reporter))
    return found


def _found(task: Task, step: Experiment, reporter: Reporter) -> dict[str, Any]:
    reporter.say(f"searching for a static network of {step.latency} of the dense latency, to compare")
    with opened_run(step, resume=True) as opened:
        try:
            result = CompressJob().run(task.fresh(), opened, reporter)
        except BudgetError as error:
            opened.discard()
            return {"reason": str(error)}
    tuned, dense = result.report["finetuned"], result.report["dense"]
    share = tuned["latency_ms"] / dense["latency_ms"]
    search, test = (
        cascade_answers(result.model, task.model, task.reader, each) for each in (task.data.search, task.data.test)
    )
    return {
        "cascade": cascade_of(search, test, share, step.max_drop / 100),
        "accuracy": tuned["accuracy"],
        "search_accuracy": accuracy(result.model, task.data.search),
        "latency_ms": tuned["latency_ms"],
        "latency_share": share,
        "flops": tuned["flops"],
        "params": tuned["params"],
        "agent": step.agent,
        "episodes": step.episodes,
        "finetune_epochs": step.finetune_epochs,
    }


def take_over(task: Task, run: RunDir, verified: Verified) -> tuple[nn.Module, Policy]:
    """Make the static network the run's own; nothing is computed again."""
    step = static_experiment(run.experiment, verified.mean_ms / verified.dense_ms)
    with opened_run(step, resume=True) as opened:
        result: Result = CompressJob().run(task.fresh(), opened, Reporter())
        Policy.load(opened.file("policy.json")).save(run.file("policy.json"))
        for name in _FILES:
            with replacing(run.file(name)) as temporary:
                temporary.write_bytes(opened.file(name).read_bytes())
    return result.model, Policy.load(run.file("policy.json"))


def static_figures(tested: dict[str, Any], accuracy: float, share: float) -> dict[str, Any]:
    """What the report says of a static network that is handed over: it has one path, and no stream.

    Args:
        tested: Of the dense network, and of the dynamic one, if one was timed; that becomes the `candidate`.
        accuracy: Of the static network on the test split.
        share: Of the dense network's time that it takes.
    """
    dense, candidate = tested["dense"], {name: value for name, value in tested.items() if name != "dense"}
    ms = share * dense["latency_ms"]
    return {
        "dynamic": False,
        "dense": dense,
        "accuracy": accuracy,
        "test_drop": dense["accuracy"] - accuracy,
        "exits": [],
        "mean_latency_ms": ms,
        "p95_latency_ms": None,
        "worst_latency_ms": ms,
        "mean_share": share,
        **({"candidate": candidate} if candidate else {}),
    }
