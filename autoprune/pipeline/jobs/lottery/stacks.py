"""The trainings of all seeds, round by round, those of one architecture and schedule as one where that is faster.

Trainings of a round do not hang on each other. A stack is trained as a whole or not at all: which networks it has does
not depend on where an earlier process was killed, so that a study that was killed ends as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from autoprune.data.batches import TensorBatches
from autoprune.errors import InputError
from autoprune.pipeline.jobs.lottery.levels import ROWS, SAVE_EVERY, Best, save_unfinished, unfinished, validation_loss
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.study import SeedStudy, Training
from autoprune.run.directory import RunDir
from autoprune.training import Trainer
from autoprune.training.constraint import Masks
from autoprune.training.epochs import FirstBatches
from autoprune.training.stacked import Member, StackedTrainer, why_not_stacked

__all__ = ["carry_out_all", "check_stacked", "how_trained"]

MOST = 16
"""Networks that are trained as one, at most."""

_PAYS = 1.2  # times as fast as networks alone; less is not worth the memory
_PROBE = 1.0  # seconds for each of the two ways
_STEPS, _EPOCHS, _HARMLESS = 6, 1000, 1e-6  # of the trainings that are timed: steps an epoch, epochs, rate
_SMALL = "small"  # the arm whose networks are of other sizes


def carry_out_all(studies: Sequence[SeedStudy], *, stacked: bool) -> None:
    """Every training of all seeds that is not yet done.

    Args:
        studies: One for each seed, of the same settings.
        stacked: Whether networks are trained as one; else seed after seed, one after the other.
    """
    if not stacked:
        for study in studies:
            study.carry_out()
        return
    for number in range(studies[0].networks.experiment.rounds + 1):
        before = [study.done for study in studies]
        for stack in _stacks(studies, number):
            _train(stack)
        for study, count in zip(studies, before, strict=True):
            study.end_round(number, count)


_Own = tuple[SeedStudy, Training]


def _stacks(studies: Sequence[SeedStudy], number: int) -> list[list[_Own]]:
    """The trainings of a round, those together that can be one stack."""
    found: dict[Any, list[_Own]] = {}
    for study in studies:
        for training in study.trainings(number):
            arm, settings = training.level.arm, training.level.settings
            key = (study.seed, arm) if arm == _SMALL else (settings, training.step)
            found.setdefault(key, []).append((study, training))
    return [group[first : first + MOST] for group in found.values() for first in range(0, len(group), MOST)]


def _train(stack: Sequence[_Own]) -> None:
    if all(study.is_done(training) for study, training in stack):
        return
    if len(stack) == 1:
        study, training = stack[0]
        study.train(training)
        return
    starts, begun = [training.start() for _, training in stack], time.perf_counter()
    (_, first), *_ = stack
    trainer = StackedTrainer(
        [Member(start.network, start.masks, own.level.batches) for start, (_, own) in zip(starts, stack, strict=True)],
        replace(first.level.settings, distil_weight=0.0, seed=first.level.seed),
        start_step=first.step,
        keep_at=next((own.keep_at for _, own in stack if own.keep_at is not None), None),
    )
    bests = _run(trainer, stack)
    seconds = round((time.perf_counter() - begun) / len(stack), 3)
    kept = trainer.kept or [{}] * len(stack)
    for (study, own), start, best, weights in zip(stack, starts, bests, kept, strict=True):
        study.finish(own.level, start, own.level.row(start, trainer.steps, best) | {"seconds": seconds}, weights)


def _run(trainer: StackedTrainer, stack: Sequence[_Own]) -> list[Best]:
    """Train to the end, going on where a killed process stopped; the best epoch of each network."""
    run, key = stack[0][1].level.run, "; ".join(training.level.key for _, training in stack)
    bests = [Best() for _ in stack]
    if (found := unfinished(run, key)) is not None:
        trainer.load_state_dict(found[0])
        bests = found[1]
    saved, epochs = time.monotonic(), trainer.settings.epochs
    while trainer.epoch < epochs:
        trainer.run(1)
        step = trainer.epoch * (trainer.steps // epochs)
        losses = [
            validation_loss(own.level.task, member.network)
            for (_, own), member in zip(stack, trainer.members, strict=True)
        ]
        for best, loss, member in zip(bests, losses, trainer.members, strict=True):
            best.see(loss, step, member.network)
        if time.monotonic() - saved > SAVE_EVERY:
            save_unfinished(run, key, trainer.state_dict(), bests)
            saved = time.monotonic()
        stack[0][0].tally.show(f"{len(stack)} networks, round {stack[0][1].level.round}", min(losses))
    return bests


# Whether it pays ------------------------------------------------------------------------------------------------------


def check_stacked(networks: Networks) -> None:
    """Refuse before any training `--stacked yes` of networks that cannot be trained as one.

    Raises:
        InputError: Saying why not.
    """
    if networks.experiment.stacked == "yes" and (why := _why_not(networks)) is not None:
        raise InputError(f"--stacked yes: networks of {networks.task.name} cannot be trained as one: {why}")


def how_trained(networks: Networks, run: RunDir) -> dict[str, Any]:
    """Whether the study's networks are trained as one, decided once and written into the run's journal.

    Args:
        networks: Of the study.
        run: Its folder.

    Returns:
        `stacked`, `why`, and where both ways were timed `times_as_fast`.
    """
    found: dict[str, Any] = run.once("lottery trained", lambda: _decided(networks, begun=bool(run.rows(ROWS))))
    return found


def _decided(networks: Networks, *, begun: bool) -> dict[str, Any]:
    asked, count = networks.experiment.stacked, _count(networks)
    if begun:  # by an earlier version: weights that a stack would begin with are there no more
        return {"stacked": False, "why": "it was begun one by one"}
    if asked != "auto":
        return {"stacked": asked == "yes", "why": "as asked for"}
    if count < 2:
        return {"stacked": False, "why": "no networks begin alike"}
    if (why := _why_not(networks)) is not None:
        return {"stacked": False, "why": why}
    ratio = _times_as_fast(networks, count)
    pays = max(
        _PAYS, min(networks.experiment.workers, networks.experiment.seeds)
    )  # seeds side by side are the other way
    return {"stacked": ratio >= pays, "why": f"{count} networks, timed both ways", "times_as_fast": round(ratio, 2)}


def _count(networks: Networks) -> int:
    """Networks of a stack: those of a round that begin alike, of all seeds."""
    experiment = networks.experiment
    alike = {"random", "shuffled", "lr-rewind"} | ({"reinit"} if not experiment.rewind else set())
    return min(MOST, experiment.seeds * (1 + sum(name in alike for name in experiment.control_names)))


def _why_not(networks: Networks) -> str | None:
    task = networks.task
    if not isinstance(task.data.train, TensorBatches):
        return "its images come from a loader of your own"
    if task.loss is not None or task.reader.keys:
        return "it has a loss, or inputs, of its own"
    if not isinstance(task.example, torch.Tensor):
        return "it has several inputs"
    return why_not_stacked(networks.fresh(networks.experiment.seed), task.example, networks.schedule)


def _times_as_fast(networks: Networks, count: int) -> float:
    """Seconds of a step of networks alone over seconds of one of a stack's, both a network."""
    seed = networks.experiment.seed
    settings = replace(networks.schedule, distil_weight=0.0, epochs=_EPOCHS, lr=_HARMLESS)
    made = [networks.fresh(seed + number) for number in range(count)]
    masks = {name: torch.ones_like(made[0].get_parameter(name), dtype=torch.bool) for name in networks.rates}
    batches = [FirstBatches(networks.batches(seed), _STEPS) for _ in range(min(count, networks.experiment.seeds))]
    alone = Trainer(networks.fresh(seed), batches[0], settings, constraint=Masks(masks))
    members = [Member(one, masks, batches[number % len(batches)]) for number, one in enumerate(made)]
    return _seconds(alone) / (_seconds(StackedTrainer(members, settings)) / count)


def _seconds(trainer: Trainer | StackedTrainer) -> float:
    """Of some steps, after first ones that set things up: the least of those that a second has room for."""
    trainer.run(1)
    taken, end = list[float](), time.perf_counter() + _PROBE
    while trainer.epoch < _EPOCHS and (not taken or time.perf_counter() < end):
        begun = time.perf_counter()
        trainer.run(1)
        taken.append(time.perf_counter() - begun)
    return min(taken)
