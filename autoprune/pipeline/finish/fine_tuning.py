"""From a policy to a trained small network: cut from the dense weights each time, distilled from the dense network."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError, RunError
from autoprune.evaluation import accuracy
from autoprune.foundations.files import replacing
from autoprune.foundations.seeding import reseed
from autoprune.models import (
    computing,
    device_of,
    in_mode,
    inputs_of,
    load_weights,
    output_of,
    read_weights,
    save_weights,
)
from autoprune.pipeline.finish.stalls import StepWatch
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Talk
from autoprune.pipeline.search.finalists import Candidate
from autoprune.pipeline.search.sessions import policy_key
from autoprune.pipeline.task import Task
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.run.directory import RunDir
from autoprune.training import EpochResult, Trainer, TrainSettings, count_batches, cross_entropy, distillation

__all__ = ["InEpochs", "fine_tune", "merit", "reported_score", "tournament", "train_dense", "train_small"]

_SAVE_EVERY = 5.0  # seconds between two checkpoints of a training


def train_dense(task: Task, run: RunDir, epochs: int | None, seed: int, talk: Talk) -> None:
    """Train the dense network in place, unless it came with weights, and keep its weights in the run."""
    path, unfinished = run.file("dense.safetensors"), run.file("checkpoint/dense.pt")
    if path.exists():
        unfinished.unlink(missing_ok=True)  # a kill may have come between the two
        if task.trained:
            _refuse_other_weights(task.model, path)
        else:
            load_weights(task.model, path)
            task.trained = True
        return
    if not task.trained:
        settings = TrainSettings(epochs=epochs or task.data.dense_epochs, seed=seed)
        trainer = Trainer(task.model, InEpochs(task.data.train), settings, loss=task.loss)
        with talk.stage("train", f"training {task.name} on {task.data.name}", settings.epochs) as bar:
            _run(trainer, unfinished, bar, StepWatch(f"training {task.name}", talk.say))
        task.trained = True
    save_weights(task.model.state_dict(), path)
    unfinished.unlink(missing_ok=True)


def _refuse_other_weights(model: nn.Module, path: Path) -> None:
    """A run's scores and timings are those of one network; another that came with weights must not be overwritten."""
    own = model.state_dict()
    for name, tensor in read_weights(path).items():
        if name not in own or not torch.equal(own[name].cpu(), tensor):
            raise RunError(
                f"{path.parent} was started with other weights of this network ({name} differs);"
                " go on with those, or choose another run"
            )


def fine_tune(
    problem: Problem,
    choices: Mapping[str, int],
    epochs: int,
    seed: int,
    talk: Talk,
    what: str,
    *,
    start: nn.Module | None = None,
) -> nn.Module:
    """The small network of a policy, cut from the dense weights and fine-tuned.

    Stochastic gradient descent on a cosine, label smoothing, and distillation from the dense network (Hinton et al.,
    2015) unless the task has a loss of its own. What was trained before is read back from the run.

    Args:
        problem: The task and its run.
        choices: The policy.
        epochs: How long; 0 only re-estimates BatchNorm's statistics.
        seed: Of the order and augmentation of the images.
        talk: Who watches.
        what: What this training is for, for people.
        start: The policy's network with weights of its own, left as it is; by default it is cut from the dense ones.
    """
    with talk.stage("finetune", f"before {what}: cutting, recalibrating"):
        small = problem.small(choices) if start is None else copy.deepcopy(start)
        # The dense statistics are wrong for the cut, and a short fine-tuning would keep much of them.
        reestimate_batch_norm(small, problem.task.data.calibration)
    name = f"{'tuned' if start is None else 'carried'}-{policy_key(choices)}-{epochs}-{seed}"
    settings = TrainSettings(epochs=epochs, lr=0.05, warmup_epochs=0.5, weight_decay=5e-4, seed=seed)
    batches = InEpochs(problem.task.data.train, first=(seed + 1) * 100_003)
    return train_small(problem, small, name, settings, batches, talk, what)


def train_small(
    problem: Problem,
    small: nn.Module,
    name: str,
    settings: TrainSettings,
    batches: Iterable[Any],
    talk: Talk,
    what: str,
) -> nn.Module:
    """Train a cut network in place, distilled from the dense one, unless the run has its weights already.

    Args:
        problem: The task and its run.
        small: The network.
        name: Of its files in the run's `checkpoint/`.
        settings: How it is trained; no epochs leave it as it is.
        batches: What it learns from, whose order depends on the epoch alone.
        talk: Who watches.
        what: What this training is for, for people.
    """
    if settings.epochs == 0:
        return small
    path, unfinished = problem.run.file(f"checkpoint/{name}.safetensors"), problem.run.file(f"checkpoint/{name}.pt")
    if path.exists():
        unfinished.unlink(missing_ok=True)
        load_weights(small, path)
        return small
    task = problem.task
    teacher = None if task.loss is not None else task.model
    trainer = Trainer(small, batches, settings, teacher=teacher, loss=task.loss)
    with talk.stage("finetune", what, settings.epochs) as bar:
        _run(trainer, unfinished, bar, StepWatch(what, talk.say))
    save_weights(small.state_dict(), path)
    unfinished.unlink(missing_ok=True)
    return small


def _run(trainer: Trainer, checkpoint: Path, bar: Any, watch: StepWatch) -> None:
    """Train to the end, from the checkpoint if there is one; who saves the weights then removes it."""
    if checkpoint.exists():
        trainer.load_state_dict(_read(checkpoint))
        bar.begin(trainer.epoch)
    saved = time.monotonic()
    figures: dict[str, str] = {}

    def stepped(number: int, steps: int) -> None:
        watch.step(number, steps)
        bar.update(trainer.epoch, **figures, step=f"{number}/{steps}")

    def after(result: EpochResult) -> None:
        nonlocal saved
        figures["loss"] = f"{result.loss:.3f}"
        bar.update(result.epoch, **figures)
        if time.monotonic() - saved > _SAVE_EVERY:
            content = io.BytesIO()  # torch's own writer tells of a full disk by a RuntimeError
            torch.save(trainer.state_dict(), content)
            with replacing(checkpoint) as temporary:
                temporary.write_bytes(content.getbuffer())
            saved = time.monotonic()
        watch.epoch(result.epoch)

    watch.epoch(trainer.epoch)
    with watch:
        trainer.run(on_epoch=after, on_step=stepped)


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    except Exception as error:  # torch raises whatever the damage makes it raise
        raise InputError(f"{checkpoint} is damaged; remove it to train that part again") from error
    return state


class InEpochs:
    """The same batches, in an order that depends on the epoch's number alone, so that a training can be resumed.

    A user's DataLoader may have a generator of its own, whose state tells how often it was read: it is seeded by the
    epoch. One without draws from torch's, which the trainer seeds.

    Args:
        batches: A loader, or batches with `set_epoch`.
        first: Added to the epoch's number: other trainings see other epochs.
    """

    def __init__(self, batches: Iterable[Any], first: int = 0) -> None:
        self.batches, self.first = batches, first

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of the next iteration."""
        reseed(self.batches, self.first + epoch)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return count_batches(self.batches)


def reported_score(task: Task, model: nn.Module, batches: Iterable[Any]) -> float:
    """The score as it is reported: in float32, where the search may have used bfloat16."""
    return accuracy(model, batches, bf16=False) if task.evaluate is accuracy else task.judge(model, batches)


def tournament(
    problem: Problem, candidates: Sequence[Candidate], batches: Sequence[Any], epochs: int, talk: Talk
) -> tuple[Candidate, list[tuple[float, float]]]:
    """Fine-tune every candidate a little, keep the better half, repeat with twice as long, until one is left.

    The score before fine-tuning ranks policies of the same cost only roughly (amc.md: 0.33 within the better half),
    so the last word has a short fine-tuning, compared on images that no episode was scored on, by what fine-tuning
    minimises: the accuracy on 2,000 images has a standard error of half a point, more than what finalists differ by.

    Returns:
        The winner, and the pairs (score before, merit after the first short fine-tuning) of all candidates.
    """
    short = max(1, round(epochs / 10))
    left, seed = list(candidates), problem.experiment.seed
    pairs: list[tuple[float, float]] = []
    while len(left) > 1 and epochs > 0:
        scored = []
        for number, candidate in enumerate(left, start=1):
            what = f"fine-tuning finalist {number} of {len(left)}, epochs"

            def play(c: Candidate = candidate, what: str = what, length: int = short) -> float:
                tuned = fine_tune(problem, c.choices, length, seed, talk, what)
                with talk.stage("finetune", f"after {what}: comparing"):
                    return merit(problem, tuned, batches)

            scored.append((problem.run.once(f"finalist {policy_key(candidate.choices)} {short}", play), candidate))
        if not pairs:
            pairs = [(candidate.score, after) for after, candidate in scored]
        scored.sort(key=lambda pair: -pair[0])
        left = [candidate for _, candidate in scored[: max(1, len(scored) // 2)]]
        short = min(epochs, 2 * short)
    return left[0], pairs


def merit(problem: Problem, tuned: nn.Module, batches: Iterable[Any]) -> float:
    """How a finalist compares on held-out batches; higher is better.

    Minus fine-tuning's own objective, label smoothing aside; a task of its own score or loss is judged by that score.
    """
    task = problem.task
    if task.loss is not None or task.evaluate is not accuracy:
        return task.judge(tuned, batches)
    settings, device = TrainSettings(), device_of(tuned)
    total, count = 0.0, 0
    with in_mode(tuned, task.model), torch.no_grad(), computing(device, bf16=False):
        for batch in batches:
            images, labels = inputs_of(batch).to(device), batch[1].to(device)
            own, teacher = output_of(tuned(images)), output_of(task.model(images))
            hard = cross_entropy(own, (images, labels))
            soft = distillation(own, teacher, settings.temperature)
            total += len(images) * float((1 - settings.distil_weight) * hard + settings.distil_weight * soft)
            count += len(images)
    return -total / max(1, count)
