"""Fine-tuning while the network shrinks: one training, whose network is cut further between epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.stages import Stage
from autoprune.pipeline.finish.trainings import read_state, run_training, student
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.reconstruction.candidate_weights import Slices
from autoprune.techniques.structured.optimizer_state import carry_state
from autoprune.training import Trainer, TrainSettings

__all__ = ["train_in_stages"]


def train_in_stages(
    problem: Problem,
    stages: Sequence[Stage],
    settings: TrainSettings,
    batches: Iterable[Any],
    checkpoint: Path,
    reporter: Reporter,
    what: str,
) -> nn.Module:
    """Train the networks of all stages as one training: one cosine, momentum and average carried through every cut.

    All stages keep units by the same ranking, so that those of a stage are among those of the one before. The first
    network starts as candidates do; BatchNorm is re-estimated after every cut. Adapters start anew with each network.

    Args:
        problem: Ranked.
        stages: The last is the policy.
        settings: Of all stages together.
        batches: What they learn from, whose order depends on the epoch alone.
        checkpoint: Where the unfinished training is kept; one of before is taken up.
        reporter: Who watches.
        what: What this training is for, for people.

    Returns:
        The network of the last stage.
    """
    state = read_state(checkpoint) if checkpoint.exists() else None
    at: Stage | None = None
    trainer: Trainer | None = None
    with reporter.stage("finetune", what, settings.epochs) as bar:
        for stage in stages:
            if state is not None and stage.until < int(state["epoch"]):
                continue
            resumed, state = state, None
            if resumed is not None:
                trainer = _trainer(problem, stage, problem.small(stage.choices), settings, batches)
                trainer.load_state_dict(resumed)
                bar.begin(trainer.epoch)
            elif trainer is None or at is None:
                trainer = _trainer(problem, stage, problem.prepared(stage.choices), settings, batches)
            else:
                trainer = _cut_further(problem, trainer, at, stage, batches, reporter)
            run_training(trainer, checkpoint, bar, what, reporter, until=stage.until)
            at = stage
    assert trainer is not None  # there is always a stage
    return trainer.model


def _trainer(
    problem: Problem, stage: Stage, small: nn.Module, settings: TrainSettings, batches: Iterable[Any]
) -> Trainer:
    return student(problem.task, small, batches, settings, problem.stack.constraint(small, stage.choices))


def _cut_further(
    problem: Problem, before: Trainer, at: Stage, to: Stage, batches: Iterable[Any], reporter: Reporter
) -> Trainer:
    """The training of a narrower network that goes on where this one stands."""
    slices = _inside(problem.stack.slices(at.choices), problem.stack.slices(to.choices))
    small = problem.small(to.choices)
    _take_values(before.model, small, slices)
    reestimate_batch_norm(small, problem.task.data.calibration, reader=problem.task.reader)
    after = _trainer(problem, to, small, before.settings, batches)
    after.epoch = before.epoch
    try:
        carry_state(before.optimizer, before.model, after.optimizer, small, slices)
    except InputError as error:
        after = _trainer(problem, to, small, before.settings, batches)
        after.epoch = before.epoch
        reporter.say(f"the optimiser starts anew after a cut: {error}")
    if before.average is not None and after.average is not None:
        whole, narrow = duplicate(before.model), duplicate(small)
        before.average.write_to(whole)
        _take_values(whole, narrow, slices)
        after.average.restart(narrow, before.average.updates)
    return after


def _inside(outer: Slices, inner: Slices) -> dict[str, list[tuple[int, Tensor]]]:
    """Where the kept positions `inner` are among those of `outer`; both ascend in the dense network's."""
    found = {}
    for name, indices in inner.items():
        wider = dict(outer.get(name, []))
        found[name] = [(dim, _places(wider[dim], index) if dim in wider else index) for dim, index in indices]
    return found


def _places(outer: Tensor, inner: Tensor) -> Tensor:
    places = torch.searchsorted(outer, inner)
    if not torch.equal(outer[places.clamp_max(len(outer) - 1)], inner):
        raise ValueError("a narrower policy keeps a unit that a wider one has not")
    return places


@torch.no_grad()
def _take_values(model: nn.Module, small: nn.Module, slices: Mapping[str, Sequence[tuple[int, Tensor]]]) -> None:
    """Give a cut network the values of the one that it is cut from."""
    values = dict((*model.named_parameters(), *model.named_buffers()))
    for name, tensor in (*small.named_parameters(), *small.named_buffers()):
        taken = values.get(name, tensor)
        for dim, index in slices.get(name, ()):
            taken = taken.index_select(dim, index.to(taken.device))
        if taken.shape == tensor.shape:  # what stands for a branch that is dropped is its own
            tensor.copy_(taken)
