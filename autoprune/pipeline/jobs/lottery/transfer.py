"""Transfer: a ticket found in one place trained in another, beside what was found there and what was drawn at random.

Two things are called transfer, and both are tried: the ticket (mask and weights of step k) and the mask alone, on other
first weights (Morcos et al., NeurIPS 2019). The ticket found in the other place itself is what can be reached.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.seeding import stream
from autoprune.masks.ladder import random_masks
from autoprune.pipeline.jobs.lottery.destinations import Part, destination
from autoprune.pipeline.jobs.lottery.levels import ROWS, Start
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.stacks import carry_out_all, carry_out_together, how_trained_beside
from autoprune.pipeline.jobs.lottery.study import SeedStudy, Tally, Training, ticket_file
from autoprune.pipeline.reporter import Reporter
from autoprune.reports.grid import difference
from autoprune.run.directory import RunDir
from autoprune.run.score import ScoreSpec
from autoprune.techniques.sparsity.ticket import Ticket, read_ticket
from autoprune.training.trainer import count_batches

__all__ = ["ARMS", "Transfer", "check_transfers", "transferred", "transfers_of"]

ARMS = {"dense": "dense", "native": "ticket", "ticket": "moved-ticket", "mask": "moved-mask", "random": "moved-random"}
"""What the report calls an arm -> its name in the rows of the destination."""


def transferred(name: str) -> str:
    """What the trainings of a destination are called where it is kept how they are trained."""
    return f"transfer to {name}"


def check_transfers(source: Networks) -> None:
    """Refuse before any training a destination that there is not, or whose training is too short.

    Raises:
        InputError: Naming it.
    """
    experiment = source.experiment
    for name in experiment.transfers:
        there = destination(source, name)
        steps = there.schedule.epochs * count_batches(there.task.data.train)
        if experiment.rewind >= steps:
            raise InputError(
                f"--rewind {experiment.rewind} is past the {steps} steps of the training of --transfer {name}"
            )


@dataclass(frozen=True, eq=False)
class Transfer:
    """The trainings of all destinations.

    Attributes:
        networks: Of the study itself, which is finished.
        run: Its folder; each destination has a part of it, `transfer/NAME`.
        reporter: Shows progress.
        number: The round whose tickets are carried over.
    """

    networks: Networks
    run: RunDir
    reporter: Reporter
    number: int

    def carry_out(self) -> None:
        """Every destination and seed, as far as they are not yet done."""
        experiment = self.networks.experiment
        each = self.number + len(ARMS) - 1
        for name in experiment.transfers:
            there, part = destination(self.networks, name), part_of(self.run, name)
            total, done = each * experiment.seeds, len(part.rows(ROWS))
            with self.reporter.stage("transfer", f"carrying tickets over to {name}", total, done) as bar:
                stacked = how_trained_beside(there, self.run, transferred(name), begun=done > 0)
                self._there(there, part, Tally(bar, done), stacked=stacked)

    def _there(self, there: Networks, part: Part, tally: Tally, *, stacked: bool) -> None:
        networks = Networks(there.task, there.experiment.replace(rounds=self.number, controls=""))
        studies = [
            SeedStudy(networks, part, networks.schedule, self.reporter, tally, there.experiment.seed + index)
            for index in range(there.experiment.seeds)
        ]
        carry_out_all(studies, stacked=stacked)
        moved = [(study, training) for study in studies for training in self._moved(study)]
        carry_out_together(moved, stacked=stacked)

    def _moved(self, study: SeedStudy) -> list[Training]:
        """What is carried over: trainings that hang on none of those of the other place."""
        networks, seed, number = study.networks, study.seed, self.number
        found = read_ticket(ticket_file(self.run, seed))
        masks, draws = found.masks(number), stream(seed, number)
        starts: dict[str, tuple[Callable[[], Start], int]] = {
            "ticket": (lambda: _moved(networks, seed, found, masks), found.rewind),
            "mask": (lambda: Start(networks.fresh(seed, another=True), masks), 0),
            "random": (lambda: _moved(networks, seed, found, _random(masks, draws)), found.rewind),
        }
        return [study.further(ARMS[name], number, start, step) for name, (start, step) in starts.items()]


def _moved(networks: Networks, seed: int, found: Ticket, masks: Mapping[str, Tensor]) -> Start:
    """The weights of step k of the place where they come from; training goes on from step k of this one's schedule."""
    network = networks.fresh(seed)
    network.load_state_dict(dict(found.start))
    return Start(network, masks, found.rewind)


def _random(masks: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    return random_masks(masks, torch.Generator().manual_seed(number))


def part_of(run: RunDir, name: str) -> Part:
    """Where a destination's files lie: a folder of its own, whatever its name has to give up for it."""
    plain = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)
    mark = "" if plain == name else "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return Part(run, f"transfer/{plain}{mark}")


def transfers_of(run: RunDir, spec: ScoreSpec, number: int) -> list[dict[str, Any]]:
    """A mapping for every destination: scores of all arms on its test split, and the paired differences.

    Args:
        run: Of the study.
        spec: What networks are judged by.
        number: The round that was carried over.
    """
    return [_destination(name, part_of(run, name).rows(ROWS), spec, number) for name in run.experiment.transfers]


def _destination(name: str, rows: Sequence[Mapping[str, Any]], spec: ScoreSpec, number: int) -> dict[str, Any]:
    scores = {
        arm: {row["seed"]: row["score"] for row in rows if row["arm"] == own and row["round"] in (0, number)}
        for arm, own in ARMS.items()
    }
    merits = {arm: {seed: spec.merit(value) for seed, value in known.items()} for arm, known in scores.items()}
    content: dict[str, Any] = {"to": name, "round": number}
    for arm, known in scores.items():
        values = [known[seed] for seed in sorted(known)]
        content[arm] = {
            f"{spec.key}_mean": statistics.fmean(values),
            f"{spec.key}_std": statistics.stdev(values) if len(values) > 1 else None,
            "accuracies" if spec.is_accuracy else "scores": values,
        }
    pairs = (("ticket", "random"), ("mask", "random"), ("ticket", "native"))
    found = {pair: difference(merits[pair[0]], merits[pair[1]]) for pair in pairs}
    content["comparisons"] = [
        {"of": one, "against": other, **asdict(paired)} for (one, other), paired in found.items() if paired is not None
    ]
    return content
