"""One seed of a study: the dense network, then round by round the ticket and what it is held against.

train theta_0 to theta_T, keep theta_k
for every round:
    mask   <- the largest of the weights that the ticket before ended with
    ticket <- mask * theta_k, trained from step k to T
    controls of the same mask, or of the same size
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.foundations.seeding import stream
from autoprune.graph.fingerprint import fingerprint
from autoprune.masks.ladder import first_masks, pruned_globally, pruned_in_layers, random_masks, shuffled
from autoprune.models import parameter_count
from autoprune.pipeline.jobs.lottery.levels import ROWS, Level, Shelf, Start, Tick
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.reporter import Bar, Reporter
from autoprune.techniques.sparsity.ticket import Ticket, read_ticket, save_ticket
from autoprune.training import TrainSettings
from autoprune.training.epochs import Remembered

__all__ = ["FINETUNING", "SeedStudy", "Tally", "Training", "last_weights", "ticket_file"]

FINETUNING = 0.1
"""Peak rate of the control `finetune`, as a share of the training's."""

_CHAINS = ("finetune", "lr-rewind")  # controls that prune what they have trained themselves
_DENSE, _TICKET = "dense", "ticket"
_SMALL = "small"  # the control whose networks are of other sizes


def ticket_file(run: Shelf, seed: int) -> Path:
    """Where a seed's ticket lies."""
    return run.file(f"tickets/seed-{seed}.safetensors")


def last_weights(run: Shelf, seed: int, arm: str, number: int) -> Path:
    """Where the weights lie that a round of an arm has ended with; kept of the first seed's tickets alone."""
    return run.file(f"checkpoint/lottery/seed-{seed}-{arm}-{number}.safetensors")


@dataclass
class Tally:
    """Counts the trainings that are done, of all seeds, on a bar.

    Attributes:
        bar: Shows them.
        done: How many.
    """

    bar: Bar
    done: int

    def add(self) -> None:
        """One more is done."""
        self.done += 1
        self.bar.update(self.done)

    def show(self, what: str, loss: float) -> None:
        """Show what is trained at the moment, and its validation loss."""
        self.bar.update(self.done, training=what, loss=f"{loss:.3f}")


@dataclass(frozen=True, eq=False)
class Training:
    """A training of a study that can be begun.

    Attributes:
        level: What it is.
        start: Makes what it begins with.
        step: Steps of the schedule that count as done then.
        keep_at: Step whose weights are wanted.
        shape: What tells its network's sizes from the study's own; empty where they are the same.
    """

    level: Level
    start: Callable[[], Start]
    step: int
    keep_at: int | None = None
    shape: str = ""


@dataclass(frozen=True, eq=False)
class SeedStudy:
    """One repetition.

    Attributes:
        networks: Makes the networks.
        run: Keeps rows, tickets, and the last weights of what is pruned on.
        settings: The whole schedule.
        reporter: Shows sentences.
        tally: Counts the trainings of all seeds.
        seed: Of first weights, batches and random masks.
    """

    networks: Networks
    run: Shelf
    settings: TrainSettings
    reporter: Reporter
    tally: Tally
    seed: int

    def carry_out(self) -> None:
        """Every training that is not yet done, in order."""
        for number in range(self.networks.experiment.rounds + 1):
            before = len(self._rows)
            for training in self.trainings(number):
                self.train(training)
            self.end_round(number, before)

    def trainings(self, number: int) -> list[Training]:
        """Those of a round, done or not: all hang on the round before, and none on another."""
        controls, rewind = self.networks.experiment.control_names, self.networks.experiment.rewind
        if number == 0:
            dense = Training(
                self._named(_DENSE, 0), lambda: Start(self.networks.fresh(self.seed), self._whole), 0, rewind
            )
            anew = Training(self._named("reinit", 0), lambda: self.reinitialised(self._whole, 0), 0)
            return [dense, anew] if "reinit" in controls else [dense]
        masks = cache(lambda: self._ticket_masks(number))
        ticket = Training(self._named(_TICKET, number), lambda: self.rewound(masks(), number), rewind)
        others = (
            Training(
                self._named(arm, number),
                partial(self._start, arm, masks, number),
                _step(arm, rewind),
                shape=f"{_SMALL}, seed {self.seed}" if arm == _SMALL else "",
            )
            for arm in controls
        )
        return [ticket, *others]

    def further(self, arm: str, number: int, start: Callable[[], Start], step: int) -> Training:
        """A training that is none of the study's own rounds.

        Args:
            arm: Its name in the rows.
            number: Its round.
            start: Makes what it begins with.
            step: Steps of the schedule that count as done then.
        """
        return Training(self._named(arm, number), start, step)

    def _start(self, arm: str, masks: Callable[[], Mapping[str, Tensor]], number: int) -> Start:
        """A control's; one that trains its last weights on prunes them itself."""
        return _STARTS[arm](self, self._pruned(arm, number) if arm in _CHAINS else masks(), number)

    def is_done(self, training: Training) -> bool:
        """Whether its row is written."""
        return self._is_done(training.level.arm, training.level.round)

    def train(self, training: Training) -> None:
        """Carry a training out, unless it is done."""
        if self.is_done(training):
            return
        start = training.start()
        row, kept = training.level.trained(start, self._ticking(training.level), training.keep_at)
        self.finish(training.level, start, row, kept)

    def finish(self, level: Level, start: Start, row: Mapping[str, Any], kept: Mapping[str, Tensor]) -> None:
        """Keep what later rounds need of a training, then its row, unless that is written.

        Args:
            level: Which.
            start: What it began with; the network is trained.
            row: What it came to.
            kept: The weights of step k; empty but for the dense network.
        """
        if self._is_done(level.arm, level.round):
            return
        path = ticket_file(self.run, self.seed)
        if level.arm == _DENSE:
            about = self._about(start.network)
            save_ticket(Ticket(kept, {0: self._whole}, self.networks.experiment.rewind, about), path)
        if level.arm == _TICKET:
            ticket = read_ticket(path)
            save_ticket(replace(ticket, rounds={**ticket.rounds, level.round: start.masks}), path)
        if level.arm in (_DENSE, _TICKET, *_CHAINS):
            self._keep(level.arm, level.round, start)
        level.finish(row)
        self._rows.append(dict(row))
        self.tally.add()

    def end_round(self, number: int, before: int) -> None:
        """Take away what is needed no more, and say what the round came to.

        Args:
            number: The round.
            before: Rows that there were before it.
        """
        self._tidy(number)
        if number and len(self._rows) > before:
            self._say(number)

    @property
    def done(self) -> int:
        """Trainings that are done."""
        return len(self._rows)

    @cached_property
    def _whole(self) -> dict[str, Tensor]:
        model = self.networks.task.model
        return first_masks({name: model.get_parameter(name) for name in self.networks.rates})

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        """The finished levels of this seed."""
        return [row for row in self.run.rows(ROWS) if row["seed"] == self.seed]

    def _is_done(self, arm: str, number: int) -> bool:
        return any((row["arm"], row["round"]) == (arm, number) for row in self._rows)

    def _about(self, network: nn.Module) -> dict[str, Any]:
        """What a ticket's file says beside its weights."""
        experiment = self.networks.experiment
        schedule = {name: getattr(self.settings, name) for name in ("optimizer", "lr", "weight_decay", "warmup_epochs")}
        return {
            "model": fingerprint(network),
            "name": experiment.model,
            "arguments": dict(self.networks.task.arguments),
            "data": experiment.data,
            "batch_size": experiment.batch_size,
            "seed": self.seed,
            "epochs": self.settings.epochs,
            "schedule": schedule,
        }

    def _ticket_masks(self, number: int) -> Mapping[str, Tensor]:
        """The masks of a round of the ticket."""
        if self._is_done(_TICKET, number):
            return read_ticket(ticket_file(self.run, self.seed)).masks(number)
        return self._pruned(_TICKET, number)

    def _pruned(self, arm: str, number: int) -> dict[str, Tensor]:
        """The masks of a round, by the weights that the arm's round before has ended with."""
        last, experiment = self._last(arm, number), self.networks.experiment
        if experiment.per == "global":
            return pruned_globally(last.start, last.masks(), experiment.rate, number)
        return pruned_in_layers(last.start, last.masks(), self.networks.rates, number)

    def _named(self, arm: str, number: int) -> Level:
        settings = self.settings
        if arm == "finetune" and settings.lr is not None:
            settings = replace(settings, lr=settings.lr * FINETUNING)
        return Level(self.seed, arm, number, self.networks.task, self.run, settings, self._batches)

    @cached_property
    def _batches(self) -> Remembered:
        return self.networks.batches(self.seed)

    def _ticking(self, level: Level) -> Tick:
        return lambda loss: self.tally.show(level.key, loss)

    def _say(self, number: int) -> None:
        """A round in one line."""
        rows = [row for row in self._rows if row["round"] == number]
        scores = [f"{row['arm']} {self.networks.task.scored_as.text(row['score'])}" for row in rows]
        self.reporter.say(f"seed {self.seed}, round {number}, {rows[0]['density']:.1%} kept: {', '.join(scores)}")

    # Where each arm starts ------------------------------------------------------------------------------------------

    def rewound(self, masks: Mapping[str, Tensor], number: int) -> Start:
        """The weights of step k under a mask; training goes on from step k."""
        ticket = read_ticket(ticket_file(self.run, self.seed))
        network = self.networks.fresh(self.seed)
        network.load_state_dict(dict(ticket.start))
        return Start(network, masks, ticket.rewind)

    def reinitialised(self, masks: Mapping[str, Tensor], number: int) -> Start:
        """Other first weights, trained over the whole schedule."""
        return Start(self.networks.fresh(self.seed, another=True), masks)

    def shuffled(self, masks: Mapping[str, Tensor], number: int) -> Start:
        """As `rewound`, the places of each mask drawn anew."""
        return self.rewound(shuffled(masks, self._draws(number)), number)

    def random(self, masks: Mapping[str, Tensor], number: int) -> Start:
        """As `rewound`, under a random mask."""
        return self.rewound(random_masks(masks, self._draws(number)), number)

    def finetuned(self, masks: Mapping[str, Tensor], number: int) -> Start:
        """The last weights under their own mask, trained on at a low rate."""
        return self._trained_on("finetune", masks, number)

    def rate_rewound(self, masks: Mapping[str, Tensor], number: int) -> Start:
        """The last weights under their own mask, with the rates and batches of step k on."""
        return self._trained_on("lr-rewind", masks, number)

    def small(self, masks: Mapping[str, Tensor], number: int) -> Start:
        """A dense network, not pruned, whose parameters are as many as the ticket keeps."""
        gone = sum(int((~mask).sum()) for mask in masks.values())
        return Start(self.networks.small(parameter_count(self.networks.task.model) - gone, self.seed), {})

    def _trained_on(self, arm: str, masks: Mapping[str, Tensor], number: int) -> Start:
        """Weights that have been trained, for as many steps as the ticket has."""
        network = self.networks.fresh(self.seed)
        network.load_state_dict(dict(self._last(arm, number).start))
        return Start(network, masks, self.networks.experiment.rewind)

    def _draws(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream(self.seed, number))

    # What is pruned on ----------------------------------------------------------------------------------------------

    def _path(self, arm: str, number: int) -> Path:
        return last_weights(self.run, self.seed, arm, number)

    def _last(self, arm: str, number: int) -> Ticket:
        """What the round before has left of an arm: its weights, trained, and its masks; at first the dense network."""
        return read_ticket(self._path(arm, number - 1) if number > 1 else self._path(_DENSE, 0))

    def _keep(self, arm: str, number: int, start: Start) -> None:
        """The trained weights and the masks that they have kept."""
        save_ticket(Ticket(start.network.state_dict(), {number: start.masks}, start.step, {}), self._path(arm, number))

    def _tidy(self, number: int) -> None:
        """Weights of rounds from which all has been made; those of the first seed's tickets are handed over.

        Those of the other seeds are wanted where tickets are turned into other forms.
        """
        experiment = self.networks.experiment
        is_wanted = self.seed == experiment.seed or experiment.form_names
        for arm in (_TICKET, *_CHAINS):
            if arm != _TICKET or not is_wanted:
                self._path(arm, number - 1).unlink(missing_ok=True)


_STARTS: Mapping[str, Callable[[SeedStudy, Mapping[str, Tensor], int], Start]] = {
    "reinit": SeedStudy.reinitialised,
    "shuffled": SeedStudy.shuffled,
    "random": SeedStudy.random,
    "finetune": SeedStudy.finetuned,
    "lr-rewind": SeedStudy.rate_rewound,
    "small": SeedStudy.small,
}
"""Control -> what it begins with, of (study, masks, round)."""


def _step(arm: str, rewind: int) -> int:
    """Where in the schedule a control begins: other weights have the whole of it."""
    return 0 if arm in ("reinit", "small") else rewind
