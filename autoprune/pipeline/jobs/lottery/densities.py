"""Density by density: which units a ticket has left alive, and what it and its forms take on the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.sparse_kernels.csr import timed_csr
from autoprune.hardware.timing.effort import effort_named
from autoprune.hardware.timing.measure import measure
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.lottery.figures import StudyRows
from autoprune.pipeline.jobs.lottery.forms import Forms
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.study import ticket_file
from autoprune.pipeline.jobs.lottery.turning import masked, trained_ticket, turned
from autoprune.pipeline.reporter import Reporter
from autoprune.run.directory import RunDir
from autoprune.run.settings.lottery import CSR_FORM
from autoprune.techniques.sparsity.ticket import read_ticket
from autoprune.techniques.structured.alive import units_alive

__all__ = ["Densities"]


@dataclass(frozen=True, eq=False)
class Densities:
    """What the first seed's tickets are worth on hardware, in every round.

    Attributes:
        networks: Of the study, which is finished.
        run: Its folder.
        reporter: Shows progress.
        study: Its rows.
        forms: The tickets in other forms, as far as they were trained.
    """

    networks: Networks
    run: RunDir
    reporter: Reporter
    study: StudyRows
    forms: Forms

    def report(self) -> list[dict[str, Any]]:
        """A mapping for every round: its density, units alive, and with `--forms` milliseconds and scores."""
        ticket = read_ticket(ticket_file(self.run, self.networks.experiment.seed))
        groups = {group.name: group.width for group in self.networks.analysis.groups}
        times = self.run.once("lottery densities timing", self._timing) if self.networks.experiment.form_names else {}
        found = []
        for number in range(self.study.last + 1):
            masks = ticket.masks(number)
            alive = units_alive(self.networks.analysis, masks)
            one: dict[str, Any] = {
                "round": number,
                "density": self.study.of("ticket", number)[0]["density"],
                "units_alive": {name: [alive[name], width] for name, width in groups.items()},
            }
            found.append(one | times.get(str(number), {}) | self._scores(number))
        return found

    def _scores(self, number: int) -> dict[str, Any]:
        scores = self.forms.scores(number)
        return {"forms": scores} if scores else {}

    def _timing(self) -> dict[str, dict[str, Any]]:
        """All rounds in one session of bounded time, so that they can be compared; compressed rows in PyTorch.

        Networks are in the form that they have before they are trained: what a network takes hangs on its shapes and
        its zeros, not on what its weights are.
        """
        experiment, example = self.networks.experiment, self.networks.task.timed_example
        rounds = range(1, self.study.last + 1)
        known: dict[tuple[int, str], nn.Module] = {(0, "dense"): self.networks.fresh(experiment.seed).eval()}
        for number in rounds:
            known |= {(number, name): one for name, one in self._networks(number).items()}
        effort = effort_named(experiment.timing)
        with self.reporter.stage("forms", "timing the tickets of all rounds") as bar:
            plan = Protocol.networks().within(effort.seconds / 2)
            taken = measure(list(known.values()), example, target_of(experiment), plan, progress=bar)
            milliseconds = {key: one.ms for key, one in zip(known, taken, strict=True)}
            rows = {
                n: timed_csr(known[n, "ticket"].cpu(), example) for n in rounds if CSR_FORM in experiment.form_names
            }
        return {str(number): _of_round(number, milliseconds, rows.get(number)) for number in (0, *rounds)}

    def _networks(self, number: int) -> dict[str, nn.Module]:
        seed, found = self.networks.experiment.seed, {}
        found["ticket"] = trained_ticket(self.networks, self.run, seed, number)
        for name in self.networks.experiment.form_names:
            if name != CSR_FORM:
                start = turned(self.networks, self.run, name, seed, number).start
                found[name] = masked(start.network, start.masks).eval()
        return found


def _of_round(
    number: int, milliseconds: Mapping[tuple[int, str], float], rows: Mapping[str, Any] | None
) -> dict[str, Any]:
    own = {name: ms for (of, name), ms in milliseconds.items() if of == number}
    found: dict[str, Any] = {"latency_ms": {"dense": milliseconds[0, "dense"], **own}}
    return found if rows is None else found | {CSR_FORM: {key: rows[key] for key in ("dense_ms", "csr_ms", "chosen")}}
