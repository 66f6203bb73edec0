"""The search as what makes a language model smaller in a run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from torch import Tensor

from autoprune import agents
from autoprune.envs import PruningEnv, ScoreMemory
from autoprune.llm.methods.base import Method, PrunedModel, Work
from autoprune.llm.methods.options import MethodOptions
from autoprune.llm.methods.planned import Ahead, Outlook
from autoprune.llm.search.agent import Found, search, single_cuts
from autoprune.llm.search.budget import NM, SearchPlan
from autoprune.llm.search.choosing import Chosen, choose
from autoprune.llm.search.decisions import order_tokens, read_levers
from autoprune.llm.search.levers import BLOCKS, Levers, part_of
from autoprune.llm.search.pricing import Counted, Pricing
from autoprune.llm.search.scoring import HeldOutLoss
from autoprune.llm.search.sliced import SlicedNetworks
from autoprune.llm.search.timed import Timed, shapes_to_check, shapes_to_time
from autoprune.llm.search.timers import TIMERS, LanguageTimer
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.depth import tokens_to_choose
from autoprune.llm.texts import held_out
from autoprune.llm.windows import calibration_windows
from autoprune.pipeline.plan.base import PlannedStage

__all__ = ["SearchMethod"]

_SCORED = 8  # windows of the held-out text at most: each candidate is scored on them


class SearchMethod(Method):
    """How many blocks, neurons, heads and channels stay, searched within a budget.

    What goes first is learned from the calibration text without its last tenth; candidates are scored on that tenth.

    Args:
        plan: The budget, and who searches.
    """

    name = "search"
    marks_start = True

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan
        self.leaves_zeros = NM in plan.decisions

    def check(self, options: MethodOptions) -> None:
        """See `Method.check`; also that the target is there.

        Raises:
            TargetError: If the target is not available on this machine.
        """
        agents.get(self._plan.agent)
        agents.options_of(self._plan.agent)
        if self._plan.budget.timed:
            self._timer().require()

    def prune(self, work: Work) -> PrunedModel:
        """See `Method.prune`.

        Raises:
            BudgetError: If nothing meets the budget.
        """
        learned, scored = self._windows(work)
        with work.reporter.stage("calibrate", "reading what the model's parts do") as bar:
            text, plan = Calibration(learned, bar), self._plan
            levers = read_levers(
                work.model.network, text, work.run.once, plan.decisions, plan.zeros, self._row_multiple()
            )
        for name, why in levers.space.frozen.items():
            work.reporter.say(f"{name} stays as it is: {why}")
        pricing = self._pricing(work, levers)
        score = HeldOutLoss(SlicedNetworks(levers), scored)
        memory = ScoreMemory(score)
        found = search(pricing, memory, self._plan, work.run, work.reporter)
        for why in score.refused:
            work.reporter.say(f"a candidate was left out: {why}")
        chosen = choose(found.records, pricing, memory, levers, work.run, work.reporter)
        cost = pricing.cost
        policy = cost.space.policy(
            chosen.choices,
            agent=self._plan.agent,
            seed=self._plan.seed,
            budget={"kind": cost.kind, "requested": self._plan.budget.amount.requested, "limit": pricing.limit},
            predicted={cost.kind: chosen.predicted},
            measured={cost.kind: chosen.measured.cost},
        )
        policy.save(work.run.file("policy.json"))
        return PrunedModel(work.model.with_network(chosen.network), self._details(levers, pricing, found, chosen))

    def outlook(self, ahead: Ahead) -> Outlook:
        """See `Method.outlook`: everything is read off a window, and the target times the dense model once."""
        plan = self._plan
        learned, scored = self._windows(ahead)
        with ahead.reporter.stage("plan", "reading the model's parts off a window") as bar:
            # In any order blocks cost the same; which goes first takes long to learn.
            levers = read_levers(
                ahead.model.network, Calibration(learned[:1], bar), lambda _, __: range(ahead.blocks),
                plan.decisions, plan.zeros, self._row_multiple(),
            )  # fmt: skip
        space, stages = levers.space, [ahead.reading("calibrate", float(learned.numel()), "inputs of layers")]
        if BLOCKS in space.names:
            count, windows = order_tokens(levers.stack, learned)
            stages.append(ahead.reading("order of blocks", tokens_to_choose(count, windows), f"{count} blocks"))
        if plan.budget.timed:
            stages.append(self._profile_ahead(ahead, levers))
        else:
            priced = Counted(plan.budget, levers, {})
            PruningEnv(space, priced.cost, priced.limit, lambda _: 0.0)  # refuses a budget that is out of reach
        tried = plan.episodes + single_cuts(plan, space)
        stages.append(ahead.reading("search", float(tried * scored.numel()), f"{tried} candidates at most"))
        kinds = dict(Counter(part_of(name) for name in space.names))
        said, files = f"{plan.budget}, searched by {plan.agent}", ("episodes.jsonl", "policy.json")
        return Outlook(kinds, said, tuple(stages), space.frozen, files)

    def _profile_ahead(self, ahead: Ahead, levers: Levers) -> PlannedStage:
        """Shapes are timed beside the dense model, each in a session."""
        timer, shapes = self._timer(), len(shapes_to_time(levers.space)) + len(shapes_to_check(levers.space))
        with ahead.reporter.stage("plan", f"timing the dense model on {timer.name}"):
            start = time.perf_counter()
            timer.times([ahead.model], self._plan.budget.phase)
            seconds = time.perf_counter() - start
        return PlannedStage("profile", 2 * (shapes + 1) * seconds, f"{shapes} shapes and the result on {timer.name}")

    def _row_multiple(self) -> int:
        return self._timer().row_multiple if self._plan.budget.timed else 1

    def _windows(self, work: Work | Ahead) -> tuple[Tensor, Tensor]:
        """Windows of the text that is learned from, and of the one that candidates are scored on."""
        rest, last = held_out(work.text)
        count, length = work.windows.shape
        tokenizer = work.model.tokenizer
        shorter = min(length, max(2, len(last.tokens(tokenizer, length))))
        return (
            calibration_windows(rest, tokenizer, count, length, self._plan.seed),
            calibration_windows(last, tokenizer, min(count, _SCORED), shorter, self._plan.seed),
        )

    def _pricing(self, work: Work, levers: Levers) -> Pricing:
        if not self._plan.budget.timed:
            return Counted(self._plan.budget, levers, work.run.recall("dense"))
        return Timed(self._plan.budget, levers, work.model, self._timer(), work.run, work.reporter)

    def _timer(self) -> LanguageTimer:
        return TIMERS.get(self._plan.target)(self._plan.prompt, self._plan.number_format)

    def _details(self, levers: Levers, pricing: Pricing, found: Found, chosen: Chosen) -> dict[str, Any]:
        plan = self._plan
        details: dict[str, Any] = {
            "budget": {"kind": plan.budget.kind, "requested": plan.budget.amount.requested, "how": pricing.how},
            "agent": plan.agent,
            "episodes": len(found.records),
            "choices": chosen.choices,
            "of": pricing.cost.space.complete({}),
            "blocks_gone": levers.gone(chosen.choices.get(BLOCKS, len(levers.stack))),
            "frozen": dict(levers.space.frozen),
            "loss": {"dense": found.dense, "pruned": chosen.loss},
            "predicted": chosen.predicted,
            "measured": asdict(chosen.measured),
        }
        if isinstance(pricing, Timed):
            timing = {"target": plan.target, "prompt": plan.prompt, "type": plan.number_format}
            details |= timing | {"fit": asdict(pricing.errors)}
            details["fit_held_out"] = None if pricing.held_out is None else asdict(pricing.held_out)
        return details
