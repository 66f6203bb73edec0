"""The best so far of a job that a time limit or a callback ended: kept in the run's folder, and read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from autoprune.models import load_weights, save_weights
from autoprune.pipeline.finish.deliver import Result
from autoprune.pipeline.finish.fine_tuning import FineTuning, begun
from autoprune.pipeline.finish.keeping import better_of
from autoprune.pipeline.load import load
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter, Silent
from autoprune.pipeline.search.sessions import policy_key
from autoprune.pipeline.task import Task
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.run.directory import RunDir
from autoprune.space import Policy

__all__ = ["best_so_far", "keep_cut", "keep_network", "keep_tuned"]

Choices = Mapping[str, int]


def keep_cut(problem: Problem, choices: Choices) -> None:
    """Keep a policy, and its network as cut, BatchNorm re-estimated."""
    small = problem.small(choices)
    reestimate_batch_norm(small, problem.task.data.calibration)
    keep_network(problem, choices, small, problem.experiment.agent)


def keep_tuned(problem: Problem, policies: Iterable[Choices], reporter: Reporter) -> None:
    """Keep the finalist that was fine-tuned longest, and of several the one that compared best; none changes nothing.

    Where its fine-tuning lost score, its network before is kept.

    Args:
        problem: With the run whose `checkpoint/` holds what was fine-tuned.
        policies: All that the job has scored.
        reporter: Who watches.
    """
    known = {policy_key(choices): choices for choices in policies}
    found = []
    for path in problem.run.file("checkpoint").glob("tuned-*.safetensors"):
        _, key, epochs, _ = path.stem.split("-")
        if key in known:
            compared = problem.run.recall(f"finalist {key} {epochs}")
            found.append((int(epochs), float("-inf") if compared is None else compared, path, known[key]))
    if not found:
        return
    _, _, path, choices = max(found, key=lambda each: each[:2])
    tuned = problem.small(choices)
    load_weights(tuned, path)
    *_, length, seed = path.stem.split("-")
    tuning = FineTuning(choices, int(length), int(seed))
    what, silent = "the fine-tuning so far", Silent()  # whoever ends a job ends it again in the next stage
    kept = better_of(problem, tuning.name, tuning.seed, begun(problem, tuning, silent, what), tuned, silent, what)
    if kept.outcome is not None and not kept.outcome.kept:
        reporter.say(f"{what}: {kept.outcome.text(problem.task.scored_as)}")
    keep_network(problem, choices, kept.network, problem.experiment.agent)


def keep_network(problem: Problem, choices: Choices, network: nn.Module, agent: str) -> None:
    """Keep a policy and the weights of its network where the finished ones will be."""
    save_weights(network.state_dict(), problem.run.file("pruned.safetensors"))
    problem.policy(choices, agent).save(problem.run.file("policy.json"))


def best_so_far(run: RunDir, task: Task) -> Result | None:
    """What a job that was ended has kept, as a result that is not finished; None if it has nothing yet."""
    policy = run.file("policy.json")
    if not policy.exists() or not run.file("pruned.safetensors").exists():
        return None
    return Result(load(run.path, model=task.model), Policy.load(policy), {}, run.path, finished=False)
