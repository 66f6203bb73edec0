"""What tickets are worth on hardware: as whole channels, as N:M, as compressed rows; trained again and timed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from autoprune.hardware.sparse_kernels.csr import timed_csr
from autoprune.hardware.timing.effort import effort_named
from autoprune.hardware.timing.measure import measure
from autoprune.models import load_weights, save_weights
from autoprune.pipeline.device import target_of
from autoprune.pipeline.finish.fine_tuning import reported_score
from autoprune.pipeline.jobs.lottery.destinations import Part
from autoprune.pipeline.jobs.lottery.levels import ROWS, Level, Start
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.stacks import carry_out_together, how_trained_beside
from autoprune.pipeline.jobs.lottery.study import Tally, Training
from autoprune.pipeline.jobs.lottery.turning import Form, masked, trained_ticket, turned
from autoprune.pipeline.jobs.lottery.widths import Promises, with_others
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir
from autoprune.run.settings.lottery import CHANNELS_FORM, CSR_FORM
from autoprune.space import Policy
from autoprune.techniques.apply import apply
from autoprune.training.epochs import InEpochs, Remembered

__all__ = ["FORMS", "Forms"]

FORMS = "forms"
"""What the trainings of forms are called where it is kept how they are trained."""


@dataclass(frozen=True, eq=False)
class Forms:
    """The forms that were asked for, of the tickets of all seeds.

    Attributes:
        networks: Of the study, which is finished.
        run: Its folder; forms have `forms/`, with the first seed's policies and weights of the delivered round.
        reporter: Shows progress.
        number: The round that is handed over.
    """

    networks: Networks
    run: RunDir
    reporter: Reporter
    number: int

    def carry_out(self) -> None:
        """Train every form of every seed, as far as it is not yet done."""
        experiment, done = self.networks.experiment, len(self._rows())
        numbers = experiment.form_rounds_of(self.number)
        total = len(numbers) * experiment.seeds * len(self._trained)
        if not total:
            return
        if CHANNELS_FORM in self._trained:  # before any training, so that nothing of them is in what is promised
            for number in numbers:
                self._promises.of(number)
        stacked = how_trained_beside(self.networks, self.run, FORMS, begun=done > 0)
        with self.reporter.stage("forms", "training tickets in other forms", total, done) as bar:
            seeds = range(experiment.seed, experiment.seed + experiment.seeds)
            tally = Tally(bar, done)
            owners = [_OfSeed(self, seed, tally) for seed in seeds]
            for number in numbers:
                wanted = [(own, own.training(name, number)) for own in owners for name in self._trained]
                carry_out_together(wanted, stacked=stacked)

    def report(self) -> dict[str, Any] | None:
        """Scores and times by form of the round that is handed over; None where no form was asked for."""
        experiment = self.networks.experiment
        if not experiment.form_names:
            return None
        times = self.run.once("lottery forms timing", self._timing)
        found = {"round": self.number, "latency_ms": times["networks"]} | self.scores(self.number)
        if CHANNELS_FORM in self._trained:
            found["promised_ms"] = self._promised()
        return found | ({CSR_FORM: times["csr"]} if CSR_FORM in experiment.form_names else {})

    def scores(self, number: int) -> dict[str, dict[str, Any]]:
        """What the forms of a round have come to, by form; nothing of a round whose tickets were not turned."""
        spec, found = self.networks.task.scored_as, {}
        for name in self._trained:
            rows = [row for row in self._rows() if (row["arm"], row["round"]) == (name, number)]
            if not rows:
                continue
            scores = [row["score"] for row in sorted(rows, key=lambda row: row["seed"])]
            first = min(rows, key=lambda row: row["seed"])
            found[name] = {
                f"{spec.key}_mean": statistics.fmean(scores),
                "accuracies" if spec.is_accuracy else "scores": scores,
                "params": first["params"],
                **first["about"],
            }
            if before := [row["before"] for row in rows if "before" in row]:
                found[name]["before_retraining"] = statistics.fmean(before)
        return found

    @property
    def _trained(self) -> list[str]:
        """Forms that change the ticket, and what stands beside them; compressed rows only store it."""
        return [name for name in with_others(self.networks.experiment.form_names) if name != CSR_FORM]

    @property
    def _promises(self) -> Promises:
        return Promises(self.networks, self.run, self.reporter)

    def _promised(self) -> dict[str, float]:
        """Milliseconds that were promised of the dense network and of the first seed's channel forms."""
        seed, number = self.networks.experiment.seed, self.number
        forms = {name: self._promises.ms(name, seed, number) for name in with_others([CHANNELS_FORM])}
        return {"dense": self._promises.of(number)["dense_ms"]} | forms

    @property
    def _shelf(self) -> Part:
        return Part(self.run, "forms")

    def _rows(self) -> list[dict[str, Any]]:
        return self._shelf.rows(ROWS)

    def is_done(self, level: Level) -> bool:
        """Whether the row of a form is written."""
        return any(all(row[name] == getattr(level, name) for name in ("arm", "seed", "round")) for row in self._rows())

    def level(self, name: str, seed: int, number: int, batches: InEpochs) -> Level:
        """The training of a form."""
        return Level(seed, name, number, self.networks.task, self._shelf, self.networks.schedule, batches)

    def turned(self, level: Level) -> Form:
        """The form, not yet trained."""
        name, seed, number = level.arm, level.seed, level.round
        widths = self._promises.widths(name, seed, number) if name in with_others([CHANNELS_FORM]) else None
        return turned(self.networks, self.run, name, seed, number, widths=widths)

    def finish(self, level: Level, form: Form, row: Mapping[str, Any]) -> None:
        """Keep what the report needs of a form, whose network is trained, then its row."""
        task, seed, number = self.networks.task, level.seed, level.round
        own: dict[str, Any] = {"params": form.params, "about": form.about}
        if form.policy is None:
            ticket = masked(trained_ticket(self.networks, self.run, seed, number), form.start.masks)
            own["before"] = reported_score(task, ticket, task.data.test)
        if (seed, number) == (self.networks.experiment.seed, self.number):
            self._keep(level.arm, form)
        level.finish({**row, **own})

    def _keep(self, name: str, form: Form) -> None:
        self._shelf.file(name).mkdir(parents=True, exist_ok=True)
        save_weights(form.start.network.state_dict(), self._shelf.file(f"{name}/finetuned.safetensors"))
        if form.policy is not None:
            form.policy.save(self._shelf.file(f"{name}/policy.json"))

    def _timing(self) -> dict[str, Any]:
        """The dense network, the ticket and its forms in one session on the target; compressed rows in PyTorch."""
        experiment, seed = self.networks.experiment, self.networks.experiment.seed
        ticket = trained_ticket(self.networks, self.run, seed, self.number)
        networks = {"dense": self.networks.fresh(seed), "ticket": ticket}
        networks |= {name: self._finished(name, seed) for name in self._trained}
        example = self.networks.task.timed_example
        with self.reporter.stage("forms", "timing the forms of a ticket") as bar:
            effort = effort_named(experiment.timing)
            plan = effort.plan(effort.seconds / 2, final=True)
            taken = measure(
                [each.eval() for each in networks.values()], example, target_of(experiment), plan, progress=bar
            )
            times = {name: one.ms for name, one in zip(networks, taken, strict=True)}
            rows = timed_csr(ticket.cpu().eval(), example) if CSR_FORM in experiment.form_names else None
        return {"networks": times, "csr": rows}

    def _finished(self, name: str, seed: int) -> nn.Module:
        """The trained network of a form, of the first seed."""
        policy, network = self._shelf.file(f"{name}/policy.json"), self.networks.fresh(seed)
        if policy.exists():
            network = apply(network, Policy.load(policy), self.networks.task.example)
        load_weights(network, self._shelf.file(f"{name}/finetuned.safetensors"))
        return network


@dataclass(frozen=True, eq=False)
class _OfSeed:
    """The forms of a seed's tickets, as trainings; an `Owner`.

    Attributes:
        forms: Of all seeds.
        seed: Whose.
        tally: Counts the trainings of all seeds.
    """

    forms: Forms
    seed: int
    tally: Tally
    _turned: dict[str, Form] = field(default_factory=dict)

    def training(self, name: str, number: int) -> Training:
        """The training of a form of a round's ticket; channels have sizes of their own."""
        level = self.forms.level(name, self.seed, number, self._batches)
        shape = level.key if name in with_others([CHANNELS_FORM]) else ""
        return Training(level, lambda: self._start(level), self.forms.networks.experiment.rewind, shape=shape)

    def is_done(self, training: Training) -> bool:
        """Whether its row is written."""
        return self.forms.is_done(training.level)

    def train(self, training: Training) -> None:
        """Carry a training out by itself, unless it is done."""
        if self.is_done(training):
            return
        start, level = training.start(), training.level
        row, kept = level.trained(start, lambda loss: self.tally.show(level.key, loss))
        self.finish(level, start, row, kept)

    def finish(self, level: Level, start: Start, row: Mapping[str, Any], kept: Mapping[str, Tensor]) -> None:
        """Keep the form and its row, unless it is written."""
        form = self._turned.pop(level.key)
        if not self.forms.is_done(level):
            self.forms.finish(level, form, row)
            self.tally.add()

    def _start(self, level: Level) -> Start:
        self._turned[level.key] = self.forms.turned(level)
        return self._turned[level.key].start

    @cached_property
    def _batches(self) -> Remembered:
        return self.forms.networks.batches(self.seed)
