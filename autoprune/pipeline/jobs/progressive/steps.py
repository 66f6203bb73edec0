"""The steps of progressive pruning: propose, score, measure on the target, fine-tune a little; a row each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autoprune.agents.netadapt import Proposal, proposals, reduction_share
from autoprune.cost.metrics import Session, Timing, Verdict
from autoprune.errors import BudgetError
from autoprune.foundations.seeding import stream
from autoprune.graph import cut
from autoprune.models import load_weights, save_weights
from autoprune.models.copying import duplicate
from autoprune.pipeline.finish.fine_tuning import train_small
from autoprune.pipeline.finish.keeping import better_of
from autoprune.pipeline.finish.tournament import finalist_score
from autoprune.pipeline.jobs.progressive.current import PrunedState
from autoprune.pipeline.jobs.progressive.device_watch import Watch, in_all
from autoprune.pipeline.problem import Problem, figure
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.sessions import least_timed, policy_key, time_policies
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.reconstruction.candidate_weights import Fitting, Recalibrated
from autoprune.reports.tensorboard.steps import StepWriter
from autoprune.run.records import StepRecord
from autoprune.run.score import ScoreSpec
from autoprune.techniques.scoring import Scorer
from autoprune.training.epochs import FirstBatches, InEpochs

__all__ = ["STEPS", "ProgressiveSearch"]

STEPS = "steps.jsonl"
"""A line a finished step, on disk before the next one starts; line 0 is the dense network."""

_ENOUGH = 0.75  # share of a step's reduction that the measurement must confirm: the rest is within its noise
_ROUNDS = 3  # times that a step is shrunk further when it measures too slow; what then remains is the next step's
_EPOCHS_APART = 50_000  # steps learn from other orders of the images than the final fine-tuning


class ProgressiveSearch:
    """A network on its way to the budget; every decision is stored in the run before the next step starts.

    Costs are shares of the limit: a share of the dense latency is always one of the dense network as timed in the same
    session.

    Args:
        problem: Its latency model is refined by every measurement.
        reporter: Who watches.
        watch: Minds the device while it is measured.

    Attributes:
        rows: The finished steps, the dense network first.
        taken: How many of them have been taken in this process.
        over: What the current network costs as measured, as a share of the limit.
    """

    def __init__(self, problem: Problem, reporter: Reporter, watch: Watch) -> None:
        self.problem, self.reporter, self.watch = problem, reporter, watch
        self.run, self.experiment = problem.run, problem.experiment
        self.rows = self.run.rows(STEPS)
        self.taken = 0
        self.over = 0.0
        self._at: PrunedState | None = None
        self._forget_earlier()  # a kill may have come before they went
        self.writer = StepWriter(self.run.file("tensorboard"), problem.space, first_step=len(self.rows))

    @property
    def spec(self) -> ScoreSpec:
        """What networks are judged by."""
        return self.problem.task.scored_as

    @property
    def at(self) -> PrunedState:
        """The current network; read back from the run if this process has not made it."""
        if self._at is None:
            self._at = self._standing_at(self.rows[self.taken - 1])
        return self._at

    def until(self, goal: float) -> None:
        """Take steps until the network costs at most `goal`, a share of the limit, as measured.

        Raises:
            BudgetError: If nothing narrower is left.
        """
        if not self.taken:
            self._take(goal)
        while self.over > goal:
            self._take(goal)

    def _take(self, goal: float) -> None:
        """The next step: read back if the run has it, else taken."""
        if self.taken < len(self.rows):
            self._replay(self.rows[self.taken])
        else:
            row = self._step(goal) if self.taken else self._start()
            self.run.append_row(STEPS, row)
            self.rows.append(row)
            self._forget_earlier()
            self.writer.step(StepRecord.from_row(row))
            self._tell(row)
        self.over = float(self.rows[self.taken]["over"])
        self.taken += 1

    # What is done in a step.

    def _start(self) -> dict[str, Any]:
        """Row 0: the dense network."""
        begun = time.perf_counter()
        self._at = PrunedState.dense(self.problem)
        task, network = self.problem.task, self._at.network
        with self.reporter.stage("score", "scoring the dense network"):
            cut_score, score = (task.score(network, batches) for batches in task.search_parts)
        timing, watched = self._measured(self._at, self._at.choices, "step 0 watch")
        return {
            **self._figures(self._at.choices, timing, self.problem.cost.dense),
            "goal": None,
            "shrunk": [],
            "timed": [self._at.choices],
            "proposals": 0,
            f"{task.scored_as.key}_cut": cut_score,
            task.scored_as.key: score,
            **watched,
            "seconds": time.perf_counter() - begun,
        }

    def _step(self, goal: float) -> dict[str, Any]:
        """One step of Algorithm 1: the constraint, the proposals, the best one, measured and fine-tuned."""
        begun, number, before = time.perf_counter(), self.taken, self.at
        share = reduction_share(number - 1, self.experiment.step_share, self.experiment.step_decay)
        wanted = max(goal, self.over - share * float(self.rows[0]["over"]))
        enough = wanted if wanted == goal else self.over - _ENOUGH * (self.over - wanted)
        choices, over, scored, timed, waits = before.choices, self.over, 0, [], []
        for turn in range(_ROUNDS):
            key = f"step {number} turn {turn}"
            chosen = self._chosen(before, choices, over - wanted, key)
            timing, watched = self._measured(before, chosen["choices"], f"{key} watch")
            choices, scored = chosen["choices"], scored + chosen["proposals"]
            timed.append(choices)
            waits.append(watched["throttled"])
            over = self._verdict(choices, timing).over
            if over <= enough:
                break
            self.reporter.say(
                f"step {number} measures {over:.1%} of the limit instead of {wanted:.1%}: it shrinks further"
            )
        after = self._tuned(before, choices, number)
        with self.reporter.stage("score", f"scoring step {number}"):
            score = self.problem.task.score(after.network, self.problem.task.search_parts[1])
        row = {
            **self._figures(choices, timing, chosen["cost"]),
            "goal": wanted,
            "shrunk": [name for name, units in choices.items() if units < before.choices[name]],
            "timed": timed,
            "proposals": scored,
            f"{self.spec.key}_cut": chosen["score"],
            self.spec.key: score,
            **watched,
            "throttled": in_all(waits),
            "seconds": time.perf_counter() - begun,
        }
        self._at = after
        return row

    def _chosen(self, at: PrunedState, choices: Mapping[str, int], reduction: float, key: str) -> dict[str, Any]:
        """The proposal that scores best, its score and price, and how many there were; read back where chosen before.

        Raises:
            BudgetError: If no narrower policy is predicted to cost less.
        """

        def choose() -> dict[str, Any]:
            offered = self._offered(choices, reduction * self.problem.limit)
            best, score = self._best_of(at, offered, key)
            return {"choices": best.choices, "cost": best.cost, "score": score, "proposals": len(offered)}

        chosen: dict[str, Any] = self.run.once(key, choose)
        return chosen

    def _offered(self, choices: Mapping[str, int], reduction: float) -> list[Proposal]:
        """The step's proposals; those of a smaller step where the whole one is out of reach."""
        for part in (1.0, 0.5, 0.25, 0.1):
            offered = proposals(self.problem.cost, choices, part * reduction)
            if offered:
                return offered
        timed = least_timed(self.problem) if self.problem.metric.timed else None
        least = self.problem.cost.cost(choices) if timed is None else timed
        raise BudgetError(
            f"the budget {self.problem.budget} could not be met as measured on {self.problem.target.name}: the least"
            f" reached is {figure(least)} {self.problem.cost.unit}; raise the budget, or lower --granularity",
            least,
        )

    def _best_of(self, at: PrunedState, offered: Sequence[Proposal], key: str) -> tuple[Proposal, float]:
        """The proposal that scores best under the current weights; what they are trained by decides between equals."""
        task, whole = self.problem.task, at.whole(self.problem)
        scoring = task.search_parts[0]
        networks = at.ranked(self.problem).stack.candidates(whole)
        pieces = (networks, Recalibrated(Fitting(whole, task.data.calibration, task.reader)), scoring)
        scorer = Scorer(*pieces, task.merit)
        merits: list[float] = []
        with self.reporter.stage("propose", key.split(" turn")[0] + ", proposals", len(offered)) as bar:
            for number, proposal in enumerate(offered, start=1):
                merits.append(scorer(proposal.choices))
                best = self.spec.merit(max(merits))
                bar.update(number, best=self.spec.text(best), cost=f"{self.over:.1%} of the limit")
        equal = [proposal for proposal, merit in zip(offered, merits, strict=True) if merit == max(merits)]
        if len(equal) > 1:
            with self.reporter.stage("propose", "comparing the best proposals"):
                by_loss = Scorer(*pieces, lambda net, batches: finalist_score(self.problem, net, batches))
                equal.sort(key=lambda proposal: -by_loss(proposal.choices))
        return equal[0], best

    def _measured(self, at: PrunedState, choices: Mapping[str, int], key: str) -> tuple[Timing, dict[str, Any]]:
        """Time a policy on the target when the device is fit for it, refine the latency model, and note the signals."""
        problem, state = at.ranked(self.problem), self.problem.state
        known = policy_key(choices) in state.timed
        if known or self.run.recall(f"timing session {state.sessions}") is not None:
            (timing,) = time_policies(problem, [choices])
            return timing, self.run.recall(key) or {"throttled": None, "signals": None}
        with self.reporter.stage("measure", f"measuring on {self.problem.target.name}") as bar:
            pause = self.watch.wait()
            with self.watch.recorder() as recorder:
                (timing,) = time_policies(problem, [choices], bar)
        signals = self.watch.signals(recorder.result(), self.problem, choices, timing)
        watched = {"throttled": pause and pause.to_json(), "signals": signals}
        self.run.remember(key, watched)
        return timing, watched

    def _tuned(self, before: PrunedState, choices: Mapping[str, int], number: int) -> PrunedState:
        """The current network, cut further and fine-tuned for a moment; its weights lie in the run."""
        experiment, data = self.experiment, self.problem.task.data
        with self.reporter.stage("finetune", f"cutting, recalibrating step {number}"):
            after = before.narrowed(self.problem, choices)
            reestimate_batch_norm(after.network, data.calibration, reader=self.problem.task.reader)
        epochs = experiment.step_epochs if experiment.step_batches is None else 1
        seed = stream(experiment.seed, number)  # a loader that shuffles gives every step batches of its own
        settings = self.problem.recipe.step(epochs, seed)
        first = (experiment.seed + 1) * 100_003 + _EPOCHS_APART + number * max(1, epochs)
        batches: Iterable[Any] = InEpochs(data.train, first)
        if experiment.step_batches is not None:
            batches = FirstBatches(InEpochs(data.train, first), experiment.step_batches)
        path, what = self._weights(number), f"fine-tuning, step {number}"
        tuned = train_small(self.problem, duplicate(after.network), path.stem, settings, batches, self.reporter, what)
        if path.exists():
            tuned = better_of(self.problem, path.stem, seed, after.network, tuned, self.reporter, what).network
        save_weights(tuned.state_dict(), path)  # without epochs there was no training, and no file
        return PrunedState.of_network(self.problem, after.choices, after.kept, tuned)

    # What is stored in the run.

    def _figures(self, choices: Mapping[str, int], timing: Timing, predicted: float) -> dict[str, Any]:
        """What a network costs, as predicted before and as measured."""
        verdict = self._verdict(choices, timing)
        return {
            "step": self.taken,
            "choices": dict(choices),
            "kept": self.at.ranked(self.problem).kept(choices),
            "predicted": predicted,
            "measured": verdict.over * verdict.limit,
            "how": verdict.how,
            "limit": verdict.limit,
            "over": verdict.over,
            "latency_ms": timing.ms,
            "dense_ms": timing.dense_ms,
            "spread": timing.spread,
            "stable": timing.stable,
        }

    def _verdict(self, choices: Mapping[str, int], timing: Timing) -> Verdict:
        """A network held against what is allowed; counts and models are the policy's."""
        problem = self.problem
        seen = Session(
            timing,
            problem.price_of(problem.budget),
            problem.limit,
            problem.budget.limit,
            lambda: problem.cost.cost(choices),
            final=False,
            say=self.reporter.say,
        )
        return problem.metric.judge(seen)

    def _replay(self, row: Mapping[str, Any]) -> None:
        """Read a step's timings back, in order, so that the latency model is what it was."""
        for choices in row["timed"]:
            time_policies(self.problem, [choices])
        self._at = None

    def _standing_at(self, row: Mapping[str, Any]) -> PrunedState:
        """Where a finished step left the network."""
        network = cut(self.problem.task.model, self.problem.analysis, row["kept"])
        path = self._weights(int(row["step"]))
        if path.exists():  # the last step's; earlier ones live on in what was fine-tuned from them
            load_weights(network, path)
        return PrunedState.of_network(self.problem, row["choices"], row["kept"], network)

    def _weights(self, number: int) -> Any:
        return self.run.file(f"checkpoint/step-{number:04d}.safetensors")

    def _forget_earlier(self) -> None:
        """Keep the weights of the last step alone."""
        last = self._weights(len(self.rows) - 1)
        for path in last.parent.glob("step-*.safetensors"):
            if path.name < last.name:
                path.unlink()

    def _tell(self, row: Mapping[str, Any]) -> None:
        earlier = self.rows[self.taken - 1]["choices"] if self.taken else row["choices"]
        changes = ", ".join(f"{name} {earlier[name]} to {row['choices'][name]}" for name in row["shrunk"])
        unit, spec = self.problem.cost.unit, self.spec
        cut, tuned = spec.text(row[f"{spec.key}_cut"]), spec.text(row[spec.key])
        self.reporter.say(
            f"step {row['step']}: {changes or 'the dense network'}; predicted {figure(row['predicted'])}, {row['how']}"
            f" {figure(row['measured'])} {unit} of {figure(row['limit'])}; {spec.name} {cut} cut, {tuned} fine-tuned"
        )
