"""From finished networks to what is handed over: the last timing, the verdict, the files of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.cost.budget import Budget
from autoprune.cost.metrics import Session, Timing, Verdict
from autoprune.errors import BudgetError
from autoprune.export.onnx_network import OnnxNetwork
from autoprune.foundations.files import replacing, write_json
from autoprune.models import save_weights
from autoprune.pipeline.finish.integers import with_its_integers
from autoprune.pipeline.finish.keeping import Kept
from autoprune.pipeline.finish.report import Compared, Verdicts, make_report
from autoprune.pipeline.problem import Problem, figure, name_in_files
from autoprune.pipeline.reporter import Reporter
from autoprune.pipeline.search.elsewhere import verdict_elsewhere
from autoprune.pipeline.search.sessions import policy_key, time_finished
from autoprune.quantization.rounding import integer_layers
from autoprune.run.report import Report
from autoprune.run.stopwatch import rounded_seconds
from autoprune.run.trainings import TrainingOutcome
from autoprune.space import Policy
from autoprune.techniques.formats.coupled import coupled_layers

__all__ = ["VERIFICATIONS", "Finished", "Result", "budget_missed", "deliver", "verify"]

VERIFICATIONS = 3
"""Finished networks that may miss the budget before a job gives up."""


@dataclass(frozen=True)
class Result:
    """What a job gives back.

    Attributes:
        model: The small network in evaluation mode; fine-tuned, unless the job only searches.
        policy: What was cut, with what it was predicted and measured to do.
        report: The content of report.json; empty if the job writes none.
        run: The run's folder; None if nothing was kept.
        finished: Whether the job came to its end. Else a time limit or a callback ended it: model and policy are the
            best so far, nothing was verified, and resuming goes on.
    """

    model: nn.Module
    policy: Policy
    report: dict[str, Any]
    run: Path | None = None
    finished: bool = True


@dataclass(frozen=True)
class Finished:
    """Finished networks, their baseline, and what the target said about them.

    Attributes:
        problem: With the ranking that the networks were cut by.
        choices: The policy.
        kept: Fine-tuned networks, one a seed; the first is the one that is delivered.
        uniform: The uniform baseline's policy; None if no uniform policy meets the budget.
        uniform_networks: The same of it; those of the policy where both are one.
        timings: Of `dense`, `pruned`, `finetuned`, and `uniform` where it is another policy.
        verdict: The delivered network held against every budget.
    """

    problem: Problem
    choices: dict[str, int]
    kept: Sequence[Kept]
    uniform: dict[str, int] | None
    uniform_networks: Sequence[nn.Module]
    timings: Mapping[str, Timing]
    verdict: Verdicts

    @property
    def networks(self) -> list[nn.Module]:
        """Of all seeds."""
        return [each.network for each in self.kept]

    @property
    def trainings(self) -> list[TrainingOutcome]:
        """What fine-tuning did, a seed each; none where nothing was trained."""
        return [each.outcome for each in self.kept if each.outcome is not None]


def verify(
    problem: Problem,
    choices: Mapping[str, int],
    network: nn.Module,
    uniform: Sequence[nn.Module],
    attempt: int,
    reporter: Reporter,
) -> tuple[dict[str, Timing], Verdicts]:
    """Time dense, raw cut, finished network and baseline in one session; read back if this run did so before.

    Args:
        problem: With the ranking that the network was cut by.
        choices: The policy.
        network: The finished network.
        uniform: The uniform baseline's network, if there is one.
        attempt: How many finished networks missed the budget before.
        reporter: Shows progress and sentences.

    Returns:
        The timings by network, and the finished network held against every budget.
    """

    def session() -> dict[str, Any]:
        networks = {"dense": problem.task.model, "pruned": problem.small(choices), "finetuned": network}
        networks |= dict(zip(("uniform",), uniform, strict=False))
        return {name: asdict(timing) for name, timing in time_finished(problem, networks, bar).items()}

    def counted(budget: Budget) -> float:
        cost = problem.price_of(budget)
        with reporter.stage("verify", "counting what the finished network costs"):
            if problem.stack.effects:  # work that is skipped cannot be seen in a network's shapes
                return cost.cost(choices)
            return budget.metric.count(network, problem.task.example, cost, problem.task.target_batch)

    def judged(budget: Budget) -> Verdict:
        seen = Session(
            timings["finetuned"],
            problem.price_of(budget),
            problem.state.limits[budget.name],
            budget.limit,
            lambda: counted(budget),
            final=True,
            say=reporter.say,
        )
        return budget.metric.judge(seen)

    verdicts: dict[str, Verdict] = {}
    with reporter.stage("verify", "verifying on the target") as bar:
        key = f"final timing {policy_key(choices)} {attempt}"
        timings = {name: Timing(**content) for name, content in problem.run.once(key, session).items()}
        for other in problem.elsewhere:
            known = f"{policy_key(choices)} {attempt}"
            verdicts[other.budget.name] = verdict_elsewhere(problem, other, network, known, bar)
    verdicts |= {each.name: judged(each) for each in problem.budgets if each.name not in verdicts}
    return timings, Verdicts(tuple((each, verdicts[each.name]) for each in problem.budgets))


def budget_missed(problem: Problem, networks: int, verdicts: Verdicts) -> BudgetError:
    """What is said when no finished network met the budget, though each of their policies had.

    Args:
        problem: What was searched.
        networks: How many missed it.
        verdicts: On the last of them.
    """
    budget, verdict = verdicts.worst
    which = "by the fine-tuned network" if networks == 1 else f"by {networks} fine-tuned networks in turn, the last"
    return BudgetError(
        f"the budget {budget} was missed as measured {which} at"
        f" {figure(verdict.measured)} of {figure(verdict.limit)} {problem.price_of(budget).unit}; raise the budget",
        verdict.measured,
    )


def deliver(finished: Finished, agent: str, reporter: Reporter, **more: Any) -> Result:
    """Touch the test split once; write policy, weights and the report, which comes last.

    Args:
        finished: What is handed over.
        agent: Who chose the policy, as files call it.
        reporter: Shows progress.
        **more: Further fields of the report.
    """
    problem, run, choices = finished.problem, finished.problem.run, finished.choices
    raw, network = problem.small(choices), finished.networks[0]
    with reporter.stage("test", "scoring on the test split"):
        rows = _compared(finished, raw)
        report = make_report(problem, rows, finished.verdict)
    file = rows["finetuned"].handed_over[0]
    integers = {"integers": _integers(problem, network, file)} if isinstance(file, OnnxNetwork) else {}
    more |= {"fine_tuning": finished.trainings, **integers}
    report = report.model_copy(update={"agent": agent, **more, "seconds": rounded_seconds(run)})
    policy = problem.policy(choices, agent).model_copy(update={"measured": _measured(finished, report)})
    policy.save(run.file("policy.json"))
    save_weights(raw.state_dict(), run.file("pruned.safetensors"))
    save_weights(network.state_dict(), run.file("finetuned.safetensors"))
    if isinstance(file, OnnxNetwork):
        with replacing(run.file("model.onnx")) as temporary:
            temporary.write_bytes(file.content)
    content = report.to_json()
    write_json(run.file("report.json"), content)
    handed_over = file if integers else problem.stack.deploy(network, choices, problem.target)
    return Result(handed_over.eval(), policy, content, run.path)


def _integers(problem: Problem, network: nn.Module, file: OnnxNetwork) -> dict[str, Any]:
    """What the report says of a network whose layers compute with integers; scores are of its file."""
    layers = list(integer_layers(network))
    total = sum(len(each.layers) for each in coupled_layers(problem.analysis).groups.values())
    return {"layers": layers, "of": total, "file": "model.onnx", "bytes": len(file.content)}


def _compared(finished: Finished, raw: nn.Module) -> dict[str, Compared]:
    timings, problem = finished.timings, finished.problem

    def files(networks: Sequence[nn.Module]) -> list[nn.Module]:
        return [with_its_integers(problem, network) for network in networks]

    rows = {
        "dense": Compared(None, [finished.problem.task.model], timings["dense"]),
        "pruned": Compared(finished.choices, [raw], timings["pruned"]),
        "finetuned": Compared(finished.choices, finished.networks, timings["finetuned"], files(finished.networks)),
    }
    if finished.uniform is not None:
        timing = timings.get("uniform", timings["finetuned"])
        rows["uniform"] = Compared(
            finished.uniform, finished.uniform_networks, timing, files(finished.uniform_networks)
        )
    return rows


def _measured(finished: Finished, report: Report) -> dict[str, float]:
    """What a policy file says that its finished network does: what was measured or counted, nothing modelled."""
    figures = report.finetuned
    known = {name: getattr(figures, name) for name in ("accuracy", "score", "latency_ms", "flops", "params")}
    if str(figures.energy_label).startswith("measured"):
        known["energy_mj"] = figures.energy_mj
    for budget, verdict in finished.verdict.of:
        if verdict.how != "modelled":
            known.setdefault(name_in_files(budget.name), verdict.measured)
    return {name: value for name, value in known.items() if value is not None}
