"""The main job: search, fine-tune, verify on the target, write everything down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import spearmanr

from autoprune.agents import best
from autoprune.errors import BudgetError, Stopped
from autoprune.pipeline.finish.deliver import (
    VERIFICATIONS,
    Finished,
    budget_missed,
    deliver,
    verify,
)
from autoprune.pipeline.finish.fine_tuning import FineTuning
from autoprune.pipeline.finish.keeping import fine_tuned
from autoprune.pipeline.finish.lengths import final_epochs, final_seeds
from autoprune.pipeline.finish.side_by_side.ahead import tune_ahead
from autoprune.pipeline.finish.so_far import keep_cut, keep_tuned
from autoprune.pipeline.finish.tournament import tournament
from autoprune.pipeline.jobs.base import Job, Result
from autoprune.pipeline.jobs.lifecycle import check_settings
from autoprune.pipeline.jobs.search import search, timed
from autoprune.pipeline.jobs.settings import OF_SEARCH
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.finalists import Candidate, uniform_within, within_budget
from autoprune.pipeline.search.play import Search
from autoprune.pipeline.search.sessions import policy_key
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment

__all__ = ["CompressJob", "finish_search"]


class CompressJob(Job):
    """Search, fine-tune the best policies, verify the winner on the target. Goes on with a run of `search`, too."""

    name = "compress"
    settings = OF_SEARCH

    def check(self, experiment: Experiment) -> None:
        """Agent, budget and target must be there."""
        check_settings(experiment)

    def run(self, task: Task, run: RunDir, reporter: Reporter) -> Result:
        """From a trained network to a small one that meets the budget.

        Raises:
            Stopped: If a time limit or a callback ends it; the best network so far is kept.
        """
        if run.experiment.finetune_epochs != 0:
            require_trainable(task)
        reporter = timed(run, reporter)
        found = search(task, run, reporter)
        try:
            return finish_search(found, reporter)
        except Stopped:
            keep_cut(found.problem, best(found.within)[0].choices)
            keep_tuned(found.problem, found.score.policies, reporter)
            raise


@dataclass(frozen=True)
class _Attempt:
    """A finished network, and the finalists that it was chosen from."""

    finished: Finished
    finalists: list[Candidate]
    correlation: float | None


def finish_search(found: Search, reporter: Reporter) -> Result:
    """Fine-tune the best policies of a search, choose one, verify it on the target, write everything down.

    Raises:
        BudgetError: If no network meets the budget as measured.
    """
    problem = found.problem
    rejected: list[str] = []
    missed: Finished | None = None
    for number in range(VERIFICATIONS):
        try:
            attempt = _attempt(found, rejected, number, reporter)
        except BudgetError as error:
            if missed is None:
                raise
            raise budget_missed(problem, number, missed.verdict) from error
        missed = attempt.finished
        verdict = missed.verdict
        if verdict.met:
            return _deliver(found, attempt, reporter)
        rejected.append(policy_key(missed.choices))
        factors = {name: problem.margins.retry / over for name, over in verdict.missed.items()}
        cost, limit = problem.state.within(factors)
        if number + 1 == VERIFICATIONS or limit < cost.least()[0]:
            break
        reporter.say(
            f"the fine-tuned network takes {verdict.over:.1%} of the budget as measured;"
            " the limit is tightened and another policy chosen"
        )
        problem.tighten(factors)
        problem.state.margin = _margin_after(missed)
    raise budget_missed(problem, len(rejected), verdict)


def _margin_after(missed: Finished) -> float:
    """What a finalist may take after a miss: less by as much as the last session took longer than the one before.

    A network of many small kernels takes 2 to 3 % more in one process than in another, and no session says which it is.
    """
    problem = missed.problem
    state, margins = problem.state, problem.margins
    before = state.timed.get(policy_key(missed.choices))
    over = None if problem.timed is None else missed.verdict.missed.get(problem.timed.name)
    if over is None or before is None:
        return state.margin
    longer = over / max(before.over, 1e-9)
    return min(state.margin, max(margins.least, margins.finalist / max(longer, 1.0)))


def _attempt(found: Search, rejected: list[str], number: int, reporter: Reporter) -> _Attempt:
    """Finalists within the budget, the best of them fine-tuned and timed beside the uniform baseline."""
    problem = found.problem
    epochs = final_epochs(problem.experiment, problem.task.data)
    finalists, uniform = _finalists(found, rejected, reporter)
    _, fresh = problem.task.search_parts
    winner, pairs = tournament(problem, finalists, fresh, epochs, reporter)
    seeds = final_seeds(problem.experiment, epochs)
    same = uniform == winner.choices
    own = [FineTuning(winner.choices, epochs, s) for s in seeds]
    theirs = [] if uniform is None or same else [FineTuning(uniform, epochs, s) for s in seeds]
    tune_ahead(problem, [*own, *theirs], reporter, "fine-tuning the winner and the uniform baseline")
    kept = [fine_tuned(problem, each, reporter, f"fine-tuning, seed {each.seed}") for each in own]
    what = "fine-tuning the uniform baseline"
    others = [fine_tuned(problem, each, reporter, f"{what}, seed {each.seed}") for each in theirs]
    baseline = [each.network for each in (kept if same else others)]
    timings, verdict = verify(problem, winner.choices, kept[0].network, baseline[:1], number, reporter)
    finished = Finished(problem, winner.choices, kept, uniform, baseline, timings, verdict)
    return _Attempt(finished, finalists, _correlation(pairs))


def _finalists(found: Search, rejected: list[str], reporter: Reporter) -> tuple[list[Candidate], dict[str, int] | None]:
    """The best policies that meet the budget as measured, the uniform one among them; and that one."""
    problem = found.problem
    with reporter.stage("verify", "measuring the best policies on the target") as bar:
        finalists = within_budget(problem, found.within, found.merit, reporter, without=rejected, progress=bar)
        uniform = uniform_within(problem, rejected, bar)
        if uniform is not None and all(uniform != c.choices for c in finalists):
            finalists.append(Candidate(uniform, found.merit(uniform)))  # no search may end below it
            finalists.sort(key=lambda candidate: -candidate.merit)  # without fine-tuning the first one wins
    reporter.say(f"{len(finalists)} finalists meet the budget on {problem.target.name}")
    return finalists, uniform


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation of the score before and after fine-tuning; None for fewer than three policies."""
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) < 3 or len(set(before)) < 2 or len(set(after)) < 2:
        return None
    return float(spearmanr(before, after).statistic)


def _deliver(found: Search, attempt: _Attempt, reporter: Reporter) -> Result:
    """Write down the other finalists' policies, then what is handed over."""
    problem, finished = found.problem, attempt.finished
    agent, spec = problem.experiment.agent, problem.task.scored_as
    others = [candidate for candidate in attempt.finalists if candidate.choices != finished.choices]
    for place, candidate in enumerate(others):
        measured = {f"search_{spec.key}": spec.merit(candidate.merit)}
        if (timing := problem.state.timed.get(policy_key(candidate.choices))) is not None:
            measured["latency_ms"] = timing.ms
        other = problem.policy(candidate.choices, agent).model_copy(update={"measured": measured})
        other.save(problem.run.file(f"policies/{place}-{policy_key(candidate.choices)}.json"))
    return deliver(
        finished,
        agent,
        reporter,
        episodes=len(found.records),
        score_correlation=attempt.correlation,
        chosen=dict(finished.choices),
    )
