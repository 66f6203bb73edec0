"""From a policy to a trained small network: rebuilt from the dense weights each time, distilled from the dense network."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.files import replacing
from autoprune.models import load_weights, save_weights
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.talk import Talk
from autoprune.pipeline.task import Loss, Task
from autoprune.pipeline.verify import Candidate, policy_key
from autoprune.rundir import RunDir
from autoprune.training import EpochResult, Trainer, TrainSettings

__all__ = ["fine_tune", "reported_score", "tournament", "train_dense"]

_SAVE_EVERY = 5.0  # seconds between two checkpoints of a training


def train_dense(task: Task, run: RunDir, epochs: int | None, seed: int, talk: Talk) -> None:
    """Train the dense network in place, unless it came with weights, and keep its weights in the run."""
    path = run.file("dense.safetensors")
    if path.exists():
        load_weights(task.model, path)
        task.trained = True
        return
    if not task.trained:
        settings = TrainSettings(epochs=epochs or task.data.dense_epochs, seed=seed)
        trainer = Trainer(task.model, task.data.train, settings, loss=task.loss)
        with talk.stage("train", f"training {task.name} on {task.data.name}", settings.epochs) as bar:
            _run(trainer, run.file("checkpoint/dense.pt"), bar)
        task.trained = True
    save_weights(task.model.state_dict(), path)


def fine_tune(problem: Problem, choices: Mapping[str, int], epochs: int, seed: int, talk: Talk, what: str) -> nn.Module:
    """The small network of a policy, cut from the dense weights and fine-tuned.

    Stochastic gradient descent on a cosine, label smoothing, and distillation from the dense network (Hinton et al.,
    2015) unless the task has a loss of its own. What was trained before is read back from the run.

    Args:
        problem: The task and its run.
        choices: The policy.
        epochs: How long; 0 returns the raw cut.
        seed: Of the order and augmentation of the images.
        talk: Who watches.
        what: What this training is for, for people.
    """
    small = problem.small(choices)
    if epochs == 0:
        return small
    name = f"tuned-{policy_key(choices)}-{epochs}-{seed}"
    path = problem.run.file(f"checkpoint/{name}.safetensors")
    if path.exists():
        load_weights(small, path)
        return small
    task = problem.task
    settings = TrainSettings(epochs=epochs, lr=0.05, warmup_epochs=0.5, weight_decay=5e-4, seed=seed)
    teacher = None if task.loss is not None else task.model
    trainer = Trainer(small, Reseeded(task.data.train, seed), settings, teacher=teacher, loss=task.loss)
    with talk.stage("finetune", what, epochs) as bar:
        _run(trainer, problem.run.file(f"checkpoint/{name}.pt"), bar)
    save_weights(small.state_dict(), path)
    return small


def _run(trainer: Trainer, checkpoint: Path, bar: Any) -> None:
    """Train to the end, from the checkpoint if there is one; it goes when the training is done."""
    if checkpoint.exists():
        trainer.load_state_dict(_read(checkpoint))
    saved = time.monotonic()

    def after(result: EpochResult) -> None:
        nonlocal saved
        bar.update(result.epoch, loss=f"{result.loss:.3f}")
        if time.monotonic() - saved > _SAVE_EVERY:
            with replacing(checkpoint) as temporary:
                torch.save(trainer.state_dict(), temporary)
            saved = time.monotonic()

    trainer.run(on_epoch=after)
    checkpoint.unlink(missing_ok=True)


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    except Exception as error:  # torch raises whatever the damage makes it raise
        raise InputError(f"{checkpoint} is damaged; remove it to train that part again") from error
    return state


class Reseeded:
    """The same batches in another order: epochs of another seed are epochs that no other training sees.

    Loaders without `set_epoch` are handed on as they are; their order comes from torch's generator, which the trainer
    seeds.
    """

    def __init__(self, batches: Iterable[Any], seed: int) -> None:
        self.batches, self.seed = batches, seed

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of the next iteration."""
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch((self.seed + 1) * 100_003 + epoch)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches) if hasattr(self.batches, "__len__") else sum(1 for _ in self.batches)


def reported_score(task: Task, model: nn.Module, batches: Iterable[Any]) -> float:
    """The score as it is reported: in float32, where the search may have used bfloat16."""
    return accuracy(model, batches, bf16=False) if task.evaluate is accuracy else float(task.evaluate(model, batches))


def tournament(
    problem: Problem, candidates: Sequence[Candidate], batches: Sequence[Any], epochs: int, talk: Talk
) -> tuple[Candidate, list[tuple[float, float]]]:
    """Fine-tune every candidate a little, keep the better half, repeat with twice as long, until one is left.

    The score before fine-tuning ranks policies of the same cost only roughly (amc.md: 0.33 within the better half),
    so the last word has a short fine-tuning, scored on images that no episode was scored on.

    Returns:
        The winner, and the pairs (score before, score after the first short fine-tuning) of all candidates.
    """
    short = max(1, round(epochs / 10))
    left, pairs, seed = list(candidates), [], problem.experiment.seed
    while len(left) > 1 and epochs > 0:
        scored = []
        for number, candidate in enumerate(left, start=1):
            what = f"fine-tuning finalist {number} of {len(left)}, epochs"

            def play(c: Candidate = candidate, what: str = what, length: int = short) -> float:
                tuned = fine_tune(problem, c.choices, length, seed, talk, what)
                return float(problem.task.evaluate(tuned, batches))

            scored.append((problem.run.once(f"finalist {policy_key(candidate.choices)} {short}", play), candidate))
        if not pairs:
            pairs = [(candidate.score, after) for after, candidate in scored]
        scored.sort(key=lambda pair: -pair[0])
        left = [candidate for _, candidate in scored[: max(1, len(scored) // 2)]]
        short = min(epochs, 2 * short)
    return left[0], pairs
