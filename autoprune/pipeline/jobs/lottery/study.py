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
from functools import cached_property
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

__all__ = ["FINETUNING", "SeedStudy", "last_weights", "ticket_file"]

FINETUNING = 0.1
"""Peak rate of the control `finetune`, as a share of the training's."""

_CHAINS = ("finetune", "lr-rewind")  # controls that prune what they have trained themselves
_DENSE, _TICKET = "dense", "ticket"


def ticket_file(run: Shelf, seed: int) -> Path:
    """Where a seed's ticket lies."""
    return run.file(f"tickets/seed-{seed}.safetensors")


def last_weights(run: Shelf, seed: int, arm: str, number: int) -> Path:
    """Where the weights lie that a round of an arm has ended with; kept of the first seed's tickets alone."""
    return run.file(f"checkpoint/lottery/seed-{seed}-{arm}-{number}.safetensors")


@dataclass(frozen=True, eq=False)
class SeedStudy:
    """One repetition.

    Attributes:
        networks: Makes the networks.
        run: Keeps rows, tickets, and the last weights of what is pruned on.
        settings: The whole schedule.
        reporter: Shows sentences.
        bar: Counts the levels of all seeds.
        seed: Of first weights, batches and random masks.
        before: Levels of the seeds before.
    """

    networks: Networks
    run: Shelf
    settings: TrainSettings
    reporter: Reporter
    bar: Bar
    seed: int
    before: int = 0

    def carry_out(self) -> None:
        """Every level that is not yet done, in order."""
        experiment = self.networks.experiment
        self._dense()
        if "reinit" in experiment.control_names:
            self.level("reinit", 0, lambda: self.reinitialised(self._whole, 0))
        for number in range(1, experiment.rounds + 1):
            before = len(self._rows)
            masks = self._ticket(number)
            for control in experiment.control_names:
                self._control(control, masks, number)
            self._tidy(number)
            if len(self._rows) > before:
                self._say(number)

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

    def _dense(self) -> None:
        """Train the dense network, keep the weights that tickets start from."""
        if self._is_done(_DENSE, 0):
            return
        start, rewind = Start(self.networks.fresh(self.seed), self._whole), self.networks.experiment.rewind
        level = self._named(_DENSE, 0)
        row, kept = level.trained(start, self._ticking(level), keep_at=rewind)
        ticket = Ticket(kept, {0: self._whole}, rewind, self._about(start.network))
        save_ticket(ticket, ticket_file(self.run, self.seed))
        self._keep(_DENSE, 0, start)
        self._finish(level, row)

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

    def _ticket(self, number: int) -> Mapping[str, Tensor]:
        """A round of the ticket; its masks."""
        if self._is_done(_TICKET, number):
            return read_ticket(ticket_file(self.run, self.seed)).masks(number)
        masks = self._pruned(_TICKET, number)
        self.level(_TICKET, number, lambda: self.rewound(masks, number))
        return masks

    def _control(self, arm: str, masks: Mapping[str, Tensor], number: int) -> None:
        """A round of a control; one that trains its last weights on prunes them itself."""
        if self._is_done(arm, number):
            return
        own = self._pruned(arm, number) if arm in _CHAINS else masks
        self.level(arm, number, lambda: _STARTS[arm](self, own, number))

    def _pruned(self, arm: str, number: int) -> dict[str, Tensor]:
        """The masks of a round, by the weights that the arm's round before has ended with."""
        last, experiment = self._last(arm, number), self.networks.experiment
        if experiment.per == "global":
            return pruned_globally(last.start, last.masks(), experiment.rate, number)
        return pruned_in_layers(last.start, last.masks(), self.networks.rates, number)

    def level(self, arm: str, number: int, start_of: Callable[[], Start]) -> None:
        """Carry out a level, unless it is done.

        Args:
            arm: Its name in the rows.
            number: Its round.
            start_of: Makes what it begins with.
        """
        if self._is_done(arm, number):
            return
        start, level = start_of(), self._named(arm, number)
        row, _ = level.trained(start, self._ticking(level))
        if arm in (_TICKET, *_CHAINS):
            self._keep(arm, number, start)
        if arm == _TICKET:
            path = ticket_file(self.run, self.seed)
            ticket = read_ticket(path)
            save_ticket(replace(ticket, rounds={**ticket.rounds, number: start.masks}), path)
        self._finish(level, row)

    def _named(self, arm: str, number: int) -> Level:
        settings = self.settings
        if arm == "finetune" and settings.lr is not None:
            settings = replace(settings, lr=settings.lr * FINETUNING)
        return Level(self.seed, arm, number, self.networks.task, self.run, settings, self._batches)

    @cached_property
    def _batches(self) -> Remembered:
        """The same for all arms: the same images in the same order."""
        return Remembered(self.networks.task.data.train, (self.seed + 1) * 100_003, self.settings.epochs)

    def _ticking(self, level: Level) -> Tick:
        return lambda loss: self.bar.update(self.before + len(self._rows), training=level.key, loss=f"{loss:.3f}")

    def _finish(self, level: Level, row: Mapping[str, Any]) -> None:
        level.finish(row)
        self._rows.append(dict(row))
        self.bar.update(self.before + len(self._rows))

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
