"""Which of the finalists is delivered: a short fine-tuning each, and the better half goes on."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models import computing, device_of, in_mode, output_of
from autoprune.models.outputs import moved
from autoprune.pipeline.finish.fine_tuning import FineTuning, fine_tune
from autoprune.pipeline.finish.lengths import rounds_of
from autoprune.pipeline.finish.side_by_side.ahead import tune_ahead
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.finalists import Candidate
from autoprune.pipeline.search.sessions import policy_key
from autoprune.training import cross_entropy, distillation

__all__ = ["finalist_score", "tournament"]

_WORST = -sys.float_info.max  # of a network whose outputs are not finite: it is out, and a file can hold the number


def tournament(
    problem: Problem, candidates: Sequence[Candidate], batches: Sequence[Any], epochs: int, reporter: Reporter
) -> tuple[Candidate, list[tuple[float, float]]]:
    """Fine-tune every candidate a little, keep the better half, repeat with twice as long, until one is left.

    The score before fine-tuning ranks policies of the same cost only roughly (amc.md: 0.33 within the better half),
    so the last word has a short fine-tuning, compared on images that no episode was scored on, by what fine-tuning
    minimises: the accuracy on 2,000 images has a standard error of half a point, more than what finalists differ by.

    Raises:
        InputError: If no finalist has finite outputs.

    Returns:
        The winner, and the pairs (merit before, the finalist's after the first short fine-tuning) of all candidates.
    """
    left, seed = list(candidates), problem.experiment.seed
    pairs: list[tuple[float, float]] = []
    for turn in rounds_of(len(left), epochs):
        scored = []
        ahead = [c for c in left if problem.run.recall(_key(c, turn.epochs)) is None]
        tune_ahead(
            problem, [FineTuning(c.choices, turn.epochs, seed) for c in ahead], reporter, "fine-tuning finalists"
        )
        for number, candidate in enumerate(left, start=1):
            what = f"fine-tuning finalist {number} of {len(left)}, epochs"

            def play(c: Candidate = candidate, what: str = what, length: int = turn.epochs) -> float:
                tuned = fine_tune(problem, FineTuning(c.choices, length, seed), reporter, what)
                with reporter.stage("finetune", f"after {what}: comparing"):
                    return finalist_score(problem, tuned, batches)

            scored.append((problem.run.once(_key(candidate, turn.epochs), play), candidate))
        if not pairs:
            pairs = [(candidate.merit, after) for after, candidate in scored]
        scored.sort(key=lambda pair: -pair[0])
        if scored[0][0] == _WORST:
            raise InputError(
                f"no finalist of the network {path_of(problem.task.model)} gives finite outputs once it is fine-tuned"
                f" ({turn.epochs} epochs); lower the learning rate (--lr), or look for what overflows in the network"
            )
        left = [candidate for _, candidate in scored[: turn.kept]]
    return left[0], pairs


def _key(candidate: Candidate, epochs: int) -> str:
    """Under which a run keeps the score of a finalist after so many epochs."""
    return f"finalist {policy_key(candidate.choices)} {epochs}"


def finalist_score(problem: Problem, tuned: nn.Module, batches: Iterable[Any]) -> float:
    """How a finalist compares on held-out batches; higher is better.

    Minus fine-tuning's own objective, label smoothing aside; where that is not finite, the least number there is. A
    task of its own score or loss is judged by that score's merit.
    """
    task = problem.task
    if task.loss is not None or task.evaluate is not accuracy:
        return task.merit(tuned, batches)
    settings, device = problem.recipe.finetune(1, 0), device_of(tuned)
    total, count = 0.0, 0
    with in_mode(tuned, task.model), torch.no_grad(), computing(device, bf16=False):
        for batch in batches:
            batch = moved(batch, device)
            inputs = task.reader.call(tuned, batch)
            with UserCode(f"the network {path_of(tuned)}"):
                own, teacher = output_of(inputs.run(tuned)), output_of(inputs.run(task.model))
            hard = cross_entropy(own, batch)
            soft = distillation(own, teacher, settings.temperature)
            total += inputs.batch * float((1 - settings.distil_weight) * hard + settings.distil_weight * soft)
            count += inputs.batch
    return -total / max(1, count) if math.isfinite(total) else _WORST
