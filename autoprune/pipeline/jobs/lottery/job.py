"""A study of lottery tickets: seeds, rounds, controls, paired statistics, and the sparsest ticket that matches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.files import write_json
from autoprune.hardware.timing.effort import effort_named
from autoprune.hardware.timing.measure import measure
from autoprune.masks.packing import packed
from autoprune.models import parameter_count, save_weights
from autoprune.models.copying import duplicate
from autoprune.models.inputs.example import described
from autoprune.models.precision import device_of
from autoprune.models.sizes import zero_count
from autoprune.pipeline.device import target_of
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import check_target
from autoprune.pipeline.jobs.lottery.apart import carry_out_apart
from autoprune.pipeline.jobs.lottery.densities import Densities
from autoprune.pipeline.jobs.lottery.figures import StudyRows, comparisons, delivered_round, rounds_of
from autoprune.pipeline.jobs.lottery.forms import FORMS, Forms
from autoprune.pipeline.jobs.lottery.levels import ROWS
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.stability import BARRIERS, STABILITY, Stability, barriers_of
from autoprune.pipeline.jobs.lottery.stacks import carry_out_all, check_stacked, how_trained, plans_beside
from autoprune.pipeline.jobs.lottery.study import SeedStudy, Tally, last_weights
from autoprune.pipeline.jobs.lottery.transfer import Transfer, check_transfers, transferred, transfers_of
from autoprune.pipeline.jobs.search import timed
from autoprune.pipeline.jobs.settings import LOTTERY, OF_LOTTERY
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.task import Task, require_trainable
from autoprune.reports.tensorboard.lottery import write_rounds
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.report import REPORT_SCHEMA, Figures, Report
from autoprune.run.settings.lottery import CHANNELS_FORM
from autoprune.run.stopwatch import rounded_seconds
from autoprune.space import ZEROS, Policy
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.sparsity.masked import MaskTechnique
from autoprune.techniques.sparsity.ticket import read_ticket
from autoprune.techniques.sparsity.zeros import STEPS
from autoprune.techniques.stack import Stack
from autoprune.training import Trainer

__all__ = ["LotteryJob", "lottery_settings", "refuse_early"]


def lottery_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run: no agent, and the technique that records the ticket's masks.

    Args:
        settings: As the user gave them.
    """
    own = {"techniques": f"{ZEROS.technique}@keep=500", "kinds": (ZEROS.name,), "granularity": 1, "flops": "100%"}
    return dict(settings) | own | {"agent": LOTTERY}


class LotteryJob(Job):
    """Train, prune, rewind, train again; hold tickets against their controls; hand over the sparsest that matches."""

    name = LOTTERY
    settings = OF_LOTTERY

    def check(self, experiment: Experiment) -> None:
        """Target and optimiser must be there; a loop of the user's own cannot be rewound."""
        check_target(experiment)
        if experiment.finetune is not None:
            raise InputError("--finetune is a loop of your own, which cannot be rewound to a step; leave it out")

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """Go on where the run stopped; the report comes last."""
        experiment, reporter = run.experiment, timed(run, reporter)
        require_trainable(task)
        networks = Networks(task, experiment)
        settings = networks.schedule
        refuse_early(networks)
        run.mark_started()
        each = 1 + ("reinit" in experiment.control_names) + experiment.rounds * (1 + len(experiment.control_names))
        total, done = experiment.seeds * each, len(run.rows(ROWS))
        with reporter.stage("plan", "timing networks trained as one"):
            stacked = how_trained(networks, run)["stacked"]
        how = "as one" if stacked else "one by one"
        with reporter.stage("train", f"training {total} networks {how}", total, done) as bar:
            seeds = range(experiment.seed, experiment.seed + experiment.seeds)
            tally = Tally(bar, done)
            if experiment.workers > 1 and not stacked and device_of(task.model).type == "cpu":
                carry_out_apart(networks, run, reporter, tally, _unfinished(run, seeds, each))
            studies = [SeedStudy(networks, run, settings, reporter, tally, seed) for seed in seeds]
            carry_out_all(studies, stacked=stacked)
        Stability(networks, run, settings, reporter).carry_out()
        study = StudyRows(run.rows(ROWS), task.scored_as, experiment.control_names)
        Transfer(networks, run, reporter, delivered_round(study)[0]).carry_out()
        Forms(networks, run, reporter, delivered_round(study)[0]).carry_out()
        return _Delivery(networks, run, reporter, study).result()


def _unfinished(run: RunDir, seeds: Iterable[int], each: int) -> list[int]:
    """Seeds that lack some of their trainings."""
    counts = Counter(row["seed"] for row in run.rows(ROWS))
    return [seed for seed in seeds if counts[seed] < each]


def refuse_early(networks: Networks) -> None:
    """Refuse before any training what would fail after hours.

    Raises:
        InputError: If a step is past the training's, or a control, a transfer or a rate cannot be.
    """
    task, experiment, settings = networks.task, networks.experiment, networks.schedule
    fresh = networks.fresh(experiment.seed)
    steps = Trainer(fresh, task.data.train, settings, loss=task.loss, reader=task.reader).steps
    for name, step in (("rewind", experiment.rewind), *(("stability", s) for s in experiment.stability_steps)):
        if step >= steps:
            raise InputError(f"--{name} {step} is past the training's {steps} steps; give an earlier step")
    if "small" in experiment.control_names:
        networks.small(parameter_count(task.model), experiment.seed)
    if CHANNELS_FORM in experiment.form_names:
        networks.require_widths()
    check_transfers(networks)
    check_stacked(networks)
    assert networks.rates  # refuses a network without a weight to prune


@dataclass(frozen=True, eq=False)
class _Delivery:
    """What comes after the trainings."""

    networks: Networks
    run: RunDir
    reporter: Reporter
    study: StudyRows

    def result(self) -> Result:
        """Files, report, and the trained ticket of the first seed."""
        task, run, seed = self.networks.task, self.run, self.run.experiment.seed
        number, matching = delivered_round(self.study)
        dense = self._network(last_weights(run, seed, "dense", 0))
        ticket = self._network(last_weights(run, seed, "ticket", number))
        masks = read_ticket(last_weights(run, seed, "ticket", number)).masks()
        cut = _masked(dense, masks)
        policy = self._policy(dense, masks)
        policy.save(run.file("policy.json"))
        for name, network in (("dense", dense), ("pruned", cut), ("finetuned", ticket)):
            save_weights(network.state_dict(), run.file(f"{name}.safetensors"))
        milliseconds = run.once("lottery timing", lambda: self._timing(dense, ticket))
        content = self._report({"dense": dense, "pruned": cut, "finetuned": ticket}, milliseconds, number)
        content["lottery"] |= {"delivered_round": number, "matching": matching}
        write_rounds(run.file("tensorboard"), content)
        write_json(run.file("report.json"), content)
        if not matching:
            self.reporter.say("no round matches the dense network on the search split; the first is handed over")
        return Result(ticket.to(next(task.model.parameters()).device).eval(), policy, content, run.path)

    def _network(self, path: Any) -> nn.Module:
        network = self.networks.fresh(self.run.experiment.seed)
        network.load_state_dict(dict(read_ticket(path).start))
        return network.eval()

    def _policy(self, dense: nn.Module, masks: Mapping[str, Tensor]) -> Policy:
        experiment, analysis = self.run.experiment, self.networks.analysis
        techniques = techniques_of(experiment.technique_names)
        task = self.networks.task
        space = space_of(analysis, experiment.constraints, techniques=techniques, name=task.name)
        about = {**space.model, "arguments": task.arguments, "example": described(task.example)}
        space = replace(space, model=about)
        asked = {d.name: d.options[0] if d.name in masks else d.width for d in space.decisions}
        policy = Stack(techniques, analysis, space).policy(asked, criterion="l1", agent=LOTTERY, seed=experiment.seed)
        technique, part = techniques[0], policy.further[0]
        assert isinstance(technique, MaskTechnique)  # as `lottery_settings` wants it
        own = {
            "choices": asked | {name: _thousandths(mask) for name, mask in masks.items()},
            "payload": technique.head() | {"masks": {name: packed(mask) for name, mask in masks.items()}},
        }
        return policy.model_copy(update={"further": (part.model_copy(update=own),)})

    def _timing(self, dense: nn.Module, ticket: nn.Module) -> dict[str, float]:
        """Both networks on the target, interleaved in one session."""
        experiment = self.run.experiment
        with self.reporter.stage("verify", "timing dense network and ticket on the target") as bar:
            taken = measure(
                [dense, ticket],
                self.networks.task.timed_example,
                target_of(experiment),
                effort_named(experiment.timing).alone(),
                progress=bar,
            )
        return {name: one.ms for name, one in zip(("dense", "finetuned"), taken, strict=True)}

    def _report(
        self, networks: Mapping[str, nn.Module], milliseconds: Mapping[str, float], number: int
    ) -> dict[str, Any]:
        task, run, experiment, study = self.networks.task, self.run, self.run.experiment, self.study
        spec, target = task.scored_as, target_of(run.experiment)
        scores = {
            "dense": [row["score"] for row in study.of("ticket", 0)],
            "finetuned": [row["score"] for row in study.of("ticket", number)],
        }
        scores["pruned"] = [run.once("score of the cut", lambda: task.score(networks["pruned"], task.data.test))]
        known = {
            name: Figures.of_scores(
                spec,
                scores[name],
                latency_ms=milliseconds.get(name),
                params=parameter_count(network),
                zeros=zero_count(network),
                bytes=run.file(f"{name}.safetensors").stat().st_size,
            )
            for name, network in networks.items()
        }
        report = Report(
            schema=REPORT_SCHEMA,
            model=task.name,
            data=task.data.name,
            images=dict(task.data.counts),
            target=target.label,
            device=target.fingerprint(),
            seed=experiment.seed,
            agent=LOTTERY,
            seconds=dict(rounded_seconds(run)),
            dense=known["dense"],
            pruned=known["pruned"],
            finetuned=known["finetuned"],
        )
        content = report.model_copy(update=spec.fields).to_json()
        asked = {name: getattr(experiment, name) for name in ("rounds", "rate", "per", "rewind", "seeds")}
        asked |= {"controls": list(study.controls), "layer_rates": dict(experiment.layer_rates)}
        found: dict[str, Any] = {
            "trained": how_trained(self.networks, run),
            "trained_beside": plans_beside(run, (STABILITY, *map(transferred, experiment.transfers), FORMS)),
            "comparisons": comparisons(study),
            "stability": barriers_of(run.rows(BARRIERS), accuracy=spec.is_accuracy),
            "transfer": transfers_of(run, spec, number),
        }
        forms = Forms(self.networks, run, self.reporter, number)
        if (turned := forms.report()) is not None:
            found["forms"] = turned
        found["densities"] = Densities(self.networks, run, self.reporter, study, forms).report()
        return content | {"rounds": rounds_of(study), "lottery": asked | found}


def _masked(network: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy under masks."""
    cut = duplicate(network)
    for name, mask in masks.items():
        parameter = cut.get_parameter(name)
        parameter.data.masked_fill_(~mask.to(parameter.device), 0)
    return cut.eval()


def _thousandths(mask: Tensor) -> int:
    return min(max(round(float(mask.double().mean()) * STEPS), 1), STEPS - 1)
