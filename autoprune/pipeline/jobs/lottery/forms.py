"""What a ticket is worth on hardware: as whole channels, as N:M, as compressed rows; trained again and timed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from autoprune.graph import Analysis, analyse
from autoprune.hardware.sparse_kernels.csr import timed_csr
from autoprune.hardware.timing.effort import effort_named
from autoprune.hardware.timing.measure import measure
from autoprune.masks.n_of_m import NofM, grouped
from autoprune.models import load_weights, parameter_count, save_weights
from autoprune.models.inputs.example import described
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.lottery.destinations import Part
from autoprune.pipeline.jobs.lottery.levels import ROWS, Level, Start
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.study import last_weights, ticket_file
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir
from autoprune.run.settings.lottery import CHANNELS_FORM, CSR_FORM, n_of_m
from autoprune.space import Policy, SearchSpace, SpaceConstraints
from autoprune.techniques.apply import apply
from autoprune.techniques.space import space_of
from autoprune.techniques.sparsity.saliency import pattern_mask
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.techniques.sparsity.ticket import read_ticket
from autoprune.techniques.structured.refill import refilled
from autoprune.training.epochs import Remembered

__all__ = ["Forms"]

Masks = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Forms:
    """The forms that were asked for, of the tickets of all seeds.

    Attributes:
        networks: Of the study, which is finished.
        run: Its folder; forms have `forms/`, with the first seed's policies and weights.
        reporter: Shows progress.
        number: The round whose tickets are turned.
    """

    networks: Networks
    run: RunDir
    reporter: Reporter
    number: int

    def carry_out(self) -> None:
        """Train every form of every seed, as far as it is not yet done."""
        names, experiment = self._trained, self.networks.experiment
        total = len(names) * experiment.seeds
        if not total:
            return
        with self.reporter.stage("forms", "training tickets in other forms", total, len(self._shelf.rows(ROWS))) as bar:
            for number in range(experiment.seeds):
                for place, name in enumerate(names):
                    self._train(name, experiment.seed + number)
                    bar.update(number * len(names) + place + 1)

    def report(self) -> dict[str, Any] | None:
        """Scores and times by form; None where none was asked for."""
        experiment, spec = self.networks.experiment, self.networks.task.scored_as
        if not experiment.form_names:
            return None
        times = self.run.once("lottery forms timing", self._timing)
        found: dict[str, Any] = {"round": self.number, "latency_ms": times["networks"]}
        for name in self._trained:
            rows = sorted((r for r in self._shelf.rows(ROWS) if r["arm"] == name), key=lambda row: row["seed"])
            scores = [row["score"] for row in rows]
            found[name] = {
                f"{spec.key}_mean": statistics.fmean(scores),
                "accuracies" if spec.is_accuracy else "scores": scores,
                "params": rows[0]["params"],
                **rows[0]["about"],
            }
        return found | ({CSR_FORM: times["csr"]} if CSR_FORM in experiment.form_names else {})

    @property
    def _trained(self) -> list[str]:
        """Forms that change the ticket; compressed rows only store it."""
        return [name for name in self.networks.experiment.form_names if name != CSR_FORM]

    @property
    def _shelf(self) -> Part:
        return Part(self.run, "forms")

    def _train(self, name: str, seed: int) -> None:
        shelf = self._shelf
        if any((row["arm"], row["seed"]) == (name, seed) for row in shelf.rows(ROWS)):
            return
        task, settings = self.networks.task, self.networks.schedule
        batches = Remembered(task.data.train, (seed + 1) * 100_003, settings.epochs)
        level = Level(seed, name, self.number, task, shelf, settings, batches)
        form = self._form(name, seed)
        shelf.file(name).mkdir(parents=True, exist_ok=True)
        row, _ = level.trained(form.start, lambda loss: None)
        if seed == self.networks.experiment.seed:
            save_weights(form.start.network.state_dict(), shelf.file(f"{name}/finetuned.safetensors"))
            if form.policy is not None:
                form.policy.save(shelf.file(f"{name}/policy.json"))
        level.finish(row | {"params": form.params, "about": form.about})

    def _form(self, name: str, seed: int) -> _Form:
        ticket = read_ticket(ticket_file(self.run, seed))
        network, masks = self.networks.fresh(seed), ticket.masks(self.number)
        network.load_state_dict(dict(ticket.start))
        if name == CHANNELS_FORM:
            return self._channels(Start(network, masks, ticket.rewind))
        trained = read_ticket(last_weights(self.run, seed, "ticket", self.number)).start
        return self._n_of_m(Start(network, masks, ticket.rewind), trained, NofM(*n_of_m(name)))

    # Whole channels ---------------------------------------------------------------------------------------------------

    @cached_property
    def _proven(self) -> tuple[Analysis, SearchSpace]:
        """Couplings that may be cut, and widths on the target's grid."""
        task, experiment = self.networks.task, self.networks.experiment
        analysis = analyse(task.model, task.example)
        limits = SpaceConstraints.parse(None, experiment.skip, None, (), ())  # the study's own are of single weights
        return analysis, space_of(analysis, limits, target=target_of(experiment), name=task.name)

    def _channels(self, ticket: Start) -> _Form:
        network, masks = ticket.network, ticket.masks
        analysis, space = self._proven
        left = parameter_count(network) - sum(int((~mask).sum()) for mask in masks.values())
        choices, kept = refilled(analysis, space, {name: mask.cpu() for name, mask in masks.items()}, left)
        policy = space.policy(choices, agent="lottery", seed=self.networks.experiment.seed)
        about = {"arguments": self.networks.task.arguments, "example": described(self.networks.task.example)}
        policy = policy.model_copy(update={"kept": kept, "model": {**policy.model, **about}})
        small = apply(network, policy, self.networks.task.example)
        widths = {name: [units, space[name].width] for name, units in choices.items()}
        return _Form(Start(small, {}, ticket.step), parameter_count(small), {"widths": widths}, policy)

    # N of M -----------------------------------------------------------------------------------------------------------

    def _n_of_m(self, ticket: Start, trained: Masks, pattern: NofM) -> _Form:
        """Of each group the weights that are left and largest after the ticket's training stay."""
        found, lost, whole, broken, groups = {}, 0.0, 0.0, 0, 0
        for name, weight in weights_of(self.networks.analysis).weights.items():
            if name not in ticket.masks:
                continue
            mask = ticket.masks[name].cpu()
            size = trained[name].abs().cpu().double() * mask
            allowed = pattern_mask(weight, size, pattern)
            found[name] = mask if allowed is None else mask & allowed
            lost, whole = lost + float(size[~found[name]].sum()), whole + float(size.sum())
            over, count = _over(weight.planes.of(mask), pattern)
            broken, groups = broken + over, groups + count
        about = {"magnitude_lost": lost / max(whole, 1e-30), "groups_over": broken / max(groups, 1)}
        kept = parameter_count(ticket.network) - sum(int((~mask).sum()) for mask in found.values())
        return _Form(Start(ticket.network, found, ticket.step), kept, about, None)

    # Times ------------------------------------------------------------------------------------------------------------

    def _timing(self) -> dict[str, Any]:
        """The dense network, the ticket and its forms in one session on the target; compressed rows in PyTorch."""
        experiment, seed = self.networks.experiment, self.networks.experiment.seed
        ticket = self.networks.fresh(seed)
        ticket.load_state_dict(dict(read_ticket(last_weights(self.run, seed, "ticket", self.number)).start))
        networks = {"dense": self.networks.fresh(seed), "ticket": ticket}
        networks |= {name: self._finished(name, seed) for name in self._trained}
        example = self.networks.task.timed_example
        with self.reporter.stage("forms", "timing the forms of a ticket") as bar:
            plan = effort_named(experiment.timing).alone()
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
class _Form:
    """A ticket in another form, not yet trained: parameters that are left, what is said of it, its widths."""

    start: Start
    params: int
    about: Mapping[str, Any]
    policy: Policy | None


def _over(mask: Tensor, pattern: NofM) -> tuple[int, int]:
    """Groups with more weights than a pattern keeps, and all groups, of a mask (positions, outputs, inputs)."""
    counts = grouped(mask.double(), pattern.m, 0.0).sum(3)
    return int((counts > pattern.n).sum()), counts.numel()
