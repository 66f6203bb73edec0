"""The jobs behind the commands: search, fine-tune, verify, write down. Each goes on where its run stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import spearmanr
from torch import nn

from autoprune import agents
from autoprune.errors import BudgetError
from autoprune.foundations.files import write_json
from autoprune.models import save_weights
from autoprune.models.sizes import parameter_count
from autoprune.pipeline.finish.fine_tuning import fine_tune, tournament, train_dense
from autoprune.pipeline.finish.report import Entry, make_report
from autoprune.pipeline.jobs.lifecycle import Result
from autoprune.pipeline.pricing import energy_of
from autoprune.pipeline.problem import MARGIN, Problem, build_problem, figure
from autoprune.pipeline.reporter import Talk
from autoprune.pipeline.search.finalists import Candidate, uniform_within, within_budget
from autoprune.pipeline.search.play import Search, play, start_search
from autoprune.pipeline.search.sessions import Timing, limit_in_session, policy_key, time_finished
from autoprune.pipeline.task import Task, require_trainable
from autoprune.run.directory import RunDir
from autoprune.techniques.structured.pretrained_config import follow_config

__all__ = [
    "VERIFICATIONS",
    "budget_missed",
    "compress_job",
    "delivered",
    "final_epochs",
    "final_timing",
    "finetune_job",
    "measured_figures",
    "prepare",
    "search_job",
]

_LEAST_MARGIN = 0.9  # of a limit; a machine whose sessions differ by more cannot tell a tenth

VERIFICATIONS = 3
"""Finished networks that may miss the budget before a job gives up."""


def prepare(task: Task, run: RunDir, talk: Talk) -> Problem:
    """Profile, refuse what cannot be, train the dense network if it has no weights, rank its units.

    Raises:
        BudgetError: If nothing meets the budget.
    """
    experiment = run.experiment
    for notice in run.notices:
        talk.say(notice)
    talk.seconds = dict(run.noted("seconds") or {})  # of earlier sessions
    talk.keep_stage = run.in_stage
    talk.keep_seconds = lambda seconds: run.note("seconds", seconds)
    problem = build_problem(task, experiment, run, talk)
    run.stands()
    train_dense(task, run, experiment.train_epochs, experiment.seed, talk)
    problem.rank_units()
    return problem


def search_job(task: Task, run: RunDir, talk: Talk) -> Search:
    """Prepare and search; leaves policy.json.

    Raises:
        BudgetError: If nothing meets the budget.
    """
    problem = prepare(task, run, talk)
    with talk.stage("search", "reading the search split"):
        search = start_search(problem)
    play(search, talk)
    leader = agents.best(search.records)[0]
    if not run.file("policy.json").exists():
        problem.policy(leader.choices, run.experiment.agent).save(run.file("policy.json"))
    return search


def compress_job(task: Task, run: RunDir, talk: Talk) -> Result:
    """The main job: search, fine-tune, verify on the target, write everything down."""
    if run.experiment.finetune_epochs != 0:
        require_trainable(task)
    return finetune_job(search_job(task, run, talk), talk)


def finetune_job(search: Search, talk: Talk) -> Result:
    """Fine-tune the best policies of a search, choose one, verify it on the target, write everything down.

    Raises:
        BudgetError: If no network meets the budget as measured.
    """
    problem = search.problem
    rejected: list[str] = []
    missed: Final | None = None
    for attempt in range(VERIFICATIONS):
        try:
            final = _hand_over(search, rejected, attempt, talk)
        except BudgetError as error:
            if missed is None:
                raise
            raise budget_missed(problem, attempt, missed.measured, missed.limit) from error
        if final.met:
            return _finish(search, final, talk)
        missed = final
        rejected.append(policy_key(final.winner.choices))
        limit = problem.limit * 0.995 * final.limit / final.measured
        if attempt + 1 == VERIFICATIONS or limit < problem.cost.least()[0]:
            break
        talk.say(
            f"the fine-tuned network takes {final.measured / final.limit:.1%} of the budget as measured;"
            " the limit is tightened and another policy chosen"
        )
        problem.tighten(limit)
        problem.margin = _margin_after(problem, final)
    raise budget_missed(problem, len(rejected), final.measured, final.limit)


def _margin_after(problem: Problem, final: Final) -> float:
    """What a finalist may take after a miss: less by as much as the last session took longer than the one before.

    A network of many small kernels takes 2 to 3 % more in one process than in another, and no session says which it is.
    """
    before = problem.timed.get(policy_key(final.winner.choices))
    if problem.budget.kind != "latency" or before is None:
        return problem.margin
    longer = final.measured / final.limit / max(Timing(**before).over, 1e-9)
    return min(problem.margin, max(_LEAST_MARGIN, MARGIN / max(longer, 1.0)))


def budget_missed(problem: Problem, networks: int, measured: float, limit: float) -> BudgetError:
    """What is said when no finished network met the budget, though each of their policies had.

    Args:
        problem: What was searched.
        networks: How many missed it.
        measured: What the last of them costs, in the budget's unit.
        limit: What it may.
    """
    which = "by the fine-tuned network" if networks == 1 else f"by {networks} fine-tuned networks in turn, the last"
    return BudgetError(
        f"the budget {problem.budget} was missed as measured {which} at"
        f" {figure(measured)} of {figure(limit)} {problem.cost.unit}; raise the budget",
        measured,
    )


def final_epochs(problem: Problem) -> int:
    """Epochs of the last fine-tuning: what was asked for, else half of the data's own for a dense network."""
    epochs = problem.experiment.finetune_epochs
    return max(1, problem.task.data.dense_epochs // 2) if epochs is None else epochs


@dataclass(frozen=True)
class Final:
    """A finished network, its baseline, and what the target said about them."""

    winner: Candidate
    finalists: list[Candidate]
    correlation: float | None
    networks: list[nn.Module]
    uniform: dict[str, int] | None
    uniform_networks: list[nn.Module]
    timings: dict[str, Timing]
    measured: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the network meets the budget, as measured."""
        return self.measured <= self.limit


def _hand_over(search: Search, rejected: list[str], attempt: int, talk: Talk) -> Final:
    problem, experiment = search.problem, search.problem.experiment
    epochs = final_epochs(problem)
    with talk.stage("verify", "measuring the best policies on the target"):
        finalists = within_budget(problem, search.records, search.score, talk, without=rejected)
        uniform = uniform_within(problem, rejected)
        if uniform is not None and all(uniform != c.choices for c in finalists):
            finalists.append(Candidate(uniform, search.score(uniform), None))  # nobody may end below it
            finalists.sort(key=lambda candidate: -candidate.score)  # without fine-tuning the first one wins
    talk.say(f"{len(finalists)} finalists meet the budget on {problem.target.name}")
    _, fresh = problem.task.search_parts
    winner, pairs = tournament(problem, finalists, fresh, epochs, talk)
    seeds = range(experiment.seed, experiment.seed + (experiment.finetune_seeds if epochs else 1))
    networks = [fine_tune(problem, winner.choices, epochs, s, talk, f"fine-tuning, seed {s}") for s in seeds]
    same = uniform == winner.choices
    uniform_networks: list[nn.Module] = networks if same else []
    if uniform is not None and not same:
        what = "fine-tuning the uniform baseline"
        uniform_networks = [fine_tune(problem, uniform, epochs, s, talk, f"{what}, seed {s}") for s in seeds]
    timings, measured, limit = final_timing(problem, winner.choices, networks[0], uniform_networks[:1], attempt, talk)
    return Final(winner, finalists, _correlation(pairs), networks, uniform, uniform_networks, timings, measured, limit)


def final_timing(
    problem: Problem, choices: Mapping[str, int], network: nn.Module, uniform: list[nn.Module], attempt: int, talk: Talk
) -> tuple[dict[str, Timing], float, float]:
    """Time dense, raw cut, finished network and baseline in one session; read back if this run did so before.

    Returns:
        The timings by network, what the finished network costs in the budget's unit, and what it may.
    """

    def session() -> dict[str, Any]:
        networks = {"dense": problem.task.model, "pruned": problem.small(choices), "finetuned": network}
        networks |= dict(zip(("uniform",), uniform, strict=False))
        measured = time_finished(problem, list(networks.values()))
        dense = measured[0]
        limit = limit_in_session(problem, dense)
        return {name: asdict(Timing.of(m, dense, limit)) for name, m in zip(networks, measured, strict=True)}

    with talk.stage("verify", "verifying on the target"):
        key = f"final timing {policy_key(choices)} {attempt}"
        timings = {name: Timing(**content) for name, content in problem.run.once(key, session).items()}
    if problem.budget.kind == "latency":
        final = timings["finetuned"]
        return timings, final.ms, float(final.limit_ms or 0.0)
    metered = _measured_energy(problem, timings) if problem.budget.kind == "energy" else None
    if metered is not None:
        return timings, *metered
    if problem.budget.kind == "energy" and problem.energy.measured:
        talk.say("the sensor gave no energy for the finished network: the budget is judged by the fitted model")
    with talk.stage("verify", "counting what the finished network costs"):
        counted = _counted(problem, network)
    return timings, counted, problem.limit


def _measured_energy(problem: Problem, timings: Mapping[str, Timing]) -> tuple[float, float] | None:
    """What the finished network takes and may take, as the sensor said in the final session; None without a sensor.

    A share means a share of what the dense network took in that session.
    """
    small, dense = timings["finetuned"].energy_mj, timings["dense"].energy_mj
    if small is None or dense is None or not problem.energy.measured:
        return None
    return small, problem.budget.limit(dense)


def _counted(problem: Problem, network: nn.Module) -> float:
    """Multiply-accumulates, parameters or modelled energy of the finished network itself, not of its policy."""
    from autoprune.graph import analyse

    if problem.budget.kind == "params":
        return float(parameter_count(network))
    analysis = analyse(network, problem.task.example, validate=False)
    if problem.budget.kind == "energy":
        return energy_of(analysis, problem.energy.coefficients, problem.task.target_batch)
    return float(analysis.macs({}))


def _correlation(pairs: list[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation of the score before and after fine-tuning; None for fewer than three policies."""
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) < 3 or len(set(before)) < 2 or len(set(after)) < 2:
        return None
    return float(spearmanr(before, after).statistic)


def _finish(search: Search, final: Final, talk: Talk) -> Result:
    """Touch the test split once, write policies, weights and the report."""
    problem, run = search.problem, search.problem.run
    experiment = problem.experiment
    raw = problem.small(final.winner.choices)
    with talk.stage("test", "scoring on the test split"):
        entries = {
            "dense": Entry(None, [problem.task.model], final.timings["dense"]),
            "pruned": Entry(final.winner.choices, [raw], final.timings["pruned"]),
            "finetuned": Entry(final.winner.choices, final.networks, final.timings["finetuned"]),
        }
        if final.uniform is not None:
            timing = final.timings.get("uniform", final.timings["finetuned"])
            entries["uniform"] = Entry(final.uniform, final.uniform_networks, timing)
        report = make_report(problem, entries, final.measured, final.limit)
    report |= {
        "agent": experiment.agent,
        "episodes": len(search.records),
        "score_correlation": final.correlation,
        "chosen": dict(final.winner.choices),
        "seconds": {name: round(seconds, 3) for name, seconds in talk.seconds.items()},
    }
    policy = problem.policy(final.winner.choices, experiment.agent).model_copy(
        update={"measured": measured_figures(report)}
    )
    policy.save(run.file("policy.json"))
    others = [candidate for candidate in final.finalists if candidate.choices != final.winner.choices]
    for place, candidate in enumerate(others):
        measured = {"search_accuracy": candidate.score}
        if candidate.timing is not None:
            measured["latency_ms"] = candidate.timing.ms
        other = problem.policy(candidate.choices, experiment.agent).model_copy(update={"measured": measured})
        other.save(run.file(f"policies/{place}-{policy_key(candidate.choices)}.json"))
    save_weights(raw.state_dict(), run.file("pruned.safetensors"))
    save_weights(final.networks[0].state_dict(), run.file("finetuned.safetensors"))
    write_json(run.file("report.json"), report)
    return Result(delivered(problem, final.networks[0], final.winner.choices), policy, report, run.path)


def delivered(problem: Problem, network: nn.Module, choices: Mapping[str, int]) -> nn.Module:
    """The finished network as it is handed over: in evaluation mode, its config saying its own widths."""
    follow_config(network, problem.analysis, problem.space.units(choices))
    return network.eval()


def measured_figures(report: dict[str, Any]) -> dict[str, float]:
    """What a policy file says that its finished network does."""
    figures = report["finetuned"]
    known = {key: figures[key] for key in ("accuracy", "latency_ms", "flops", "params") if figures[key] is not None}
    if figures["energy_label"].startswith("measured"):
        known["energy_mj"] = figures["energy_mj"]
    return known
