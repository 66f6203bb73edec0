"""The trainings of all seeds that hang on none of each other, those of one shape and schedule as one where that pays.

Trainings of a round do not hang on each other. A stack is trained as a whole or not at all: which networks it has does
not depend on where an earlier process was killed, so that a study that was killed ends as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from autoprune.data.batches import TensorBatches
from autoprune.errors import InputError
from autoprune.pipeline.jobs.lottery.levels import (
    ROWS,
    SAVE_EVERY,
    Best,
    Level,
    Start,
    save_unfinished,
    unfinished,
    validation_loss,
)
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.study import SeedStudy, Tally, Training
from autoprune.run.directory import RunDir
from autoprune.training import Trainer
from autoprune.training.constraint import Masks
from autoprune.training.epochs import FirstBatches
from autoprune.training.stacked import Member, StackedTrainer, why_not_stacked

__all__ = [
    "MOST",
    "Owner",
    "carry_out_all",
    "carry_out_together",
    "check_stacked",
    "how_trained",
    "how_trained_beside",
    "plans_beside",
]

MOST = 16
"""Networks that are trained as one, at most."""

_PAYS = 1.2  # times as fast as networks alone; less is not worth the memory
_PROBE = 1.0  # seconds for each of the two ways
_STEPS, _EPOCHS, _HARMLESS = 6, 1000, 1e-6  # of the trainings that are timed: steps an epoch, epochs, rate


class Owner(Protocol):
    """Who has trainings: a seed's study, or what is made of its tickets afterwards."""

    @property
    def tally(self) -> Tally:
        """Counts them."""

    def is_done(self, training: Training) -> bool:
        """Whether its row is written."""

    def train(self, training: Training) -> None:
        """Carry a training out by itself, unless it is done."""

    def finish(self, level: Level, start: Start, row: Mapping[str, Any], kept: Mapping[str, Tensor]) -> None:
        """Write a training's row, unless it is written."""


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
        carry_out_together([(study, own) for study in studies for own in study.trainings(number)], stacked=True)
        for study, count in zip(studies, before, strict=True):
            study.end_round(number, count)


_Own = tuple[Owner, Training]


def carry_out_together(trainings: Sequence[_Own], *, stacked: bool) -> None:
    """Trainings of which none hangs on another, as far as they are not yet done.

    Args:
        trainings: With whose they are.
        stacked: Whether those are trained as one that can be; else one after the other.
    """
    for stack in _stacks(trainings) if stacked else [[each] for each in trainings]:
        _train(stack)


def _stacks(trainings: Sequence[_Own]) -> list[list[_Own]]:
    """Those together that can be one stack."""
    found: dict[Any, list[_Own]] = {}
    for owner, training in trainings:
        key = (training.shape, training.level.settings, training.step)
        found.setdefault(key, []).append((owner, training))
    return [group[first : first + MOST] for group in found.values() for first in range(0, len(group), MOST)]


def _train(stack: Sequence[_Own]) -> None:
    if all(owner.is_done(training) for owner, training in stack):
        return
    if len(stack) == 1:
        owner, training = stack[0]
        owner.train(training)
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
    for (owner, own), start, best, weights in zip(stack, starts, bests, kept, strict=True):
        owner.finish(own.level, start, own.level.row(start, trainer.steps, best) | {"seconds": seconds}, weights)


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


_BESIDE = "lottery trained, "  # in the journal, before what is trained


def how_trained_beside(networks: Networks, run: RunDir, what: str, *, begun: bool) -> bool:
    """Whether what comes after the rounds is trained as one: where the rounds are, and its own networks can be.

    Args:
        networks: Of what is trained.
        run: The study's; keeps what was decided.
        what: Is trained, for people.
        begun: Whether some of it is trained already, one by one by an earlier version unless it was decided on.
    """
    found = run.once(_BESIDE + what, lambda: _decided_beside(networks, run, begun=begun))
    return bool(found["stacked"])


def plans_beside(run: RunDir, names: Sequence[str]) -> dict[str, Any]:
    """What was decided of all that came after the rounds, by what it was.

    Args:
        run: The study's.
        names: What there may be.
    """
    return {name: found for name in names if (found := run.recall(_BESIDE + name)) is not None}


def _decided_beside(networks: Networks, run: RunDir, *, begun: bool) -> dict[str, Any]:
    if begun:
        return {"stacked": False, "why": "it was begun one by one"}
    if not how_trained(networks, run)["stacked"]:
        return {"stacked": False, "why": "as the rounds are"}
    why = _why_not(networks)
    return {"stacked": why is None, "why": why or "as the rounds are"}


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
