"""Runs of several agents, budgets and seeds held against each other: means, spreads, paired differences, curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autoprune.errors import InputError
from autoprune.reports.figures._matplotlib import require_matplotlib, save
from autoprune.reports.figures.curves import Curve, curves_figure
from autoprune.reports.format import MINUS, NONE, duration
from autoprune.run.report import Report, episode_score, read_episodes
from autoprune.run.score import ScoreSpec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Arm", "Difference", "arms_of", "curves_picture", "difference", "grid_table", "paired", "repeated"]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Arm:
    """The runs of one agent under one budget, a seed each.

    Attributes:
        budget: What they were to meet.
        agent: Who searched.
        spec: What they are judged by.
        merits: Seed -> score of the finished network on the test split, turned so that larger is better.
        evaluations: Candidates that were really scored, a number a run.
        seconds: Of the whole runs, where they are known.
        curves: Best merit so far after each evaluation, a row a run.
        met: Whether every run met its budget.
    """

    budget: str
    agent: str
    spec: ScoreSpec
    merits: Mapping[int, float]
    evaluations: tuple[int, ...]
    seconds: tuple[float, ...]
    curves: tuple[tuple[float, ...], ...] = field(repr=False)
    met: bool

    @property
    def mean(self) -> float:
        """Mean merit over seeds."""
        return statistics.fmean(self.merits.values())

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the merits; None of one seed."""
        return statistics.stdev(self.merits.values()) if len(self.merits) > 1 else None


@dataclass(frozen=True)
class Difference:
    """One arm less another, seed by seed.

    Attributes:
        seeds: How many seeds both have.
        mean: Of the differences of merit.
        half: Half the width of the 95 % confidence interval of the mean (Student's t); None for fewer than two seeds.
    """

    seeds: int
    mean: float
    half: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half is not None and abs(self.mean) > self.half


def paired(one: Arm, other: Arm) -> Difference | None:
    """The difference of two arms over the seeds that both have; None if they share none."""
    return difference(one.merits, other.merits)


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """The difference of two results by seed, over the seeds that both have; None if they share none."""
    from scipy.special import stdtrit

    both = sorted(set(one) & set(other))
    if not both:
        return None
    each = [one[seed] - other[seed] for seed in both]
    half = None
    if len(each) > 1:
        quantile = float(stdtrit(len(each) - 1, (1 + _CONFIDENCE) / 2))
        half = quantile * statistics.stdev(each) / math.sqrt(len(each))
    return Difference(len(each), statistics.fmean(each), half)


def arms_of(reports: Mapping[Path, Report]) -> list[Arm]:
    """The arms that some runs make up, by budget and falling mean.

    Args:
        reports: By the run's folder.

    Raises:
        InputError: If two runs are of one agent, budget and seed, or runs of one budget are judged by different scores.
    """
    cells: dict[tuple[str, str], dict[int, tuple[Path, Report]]] = {}
    for folder, report in reports.items():
        if report.finetuned.mean is None:
            continue
        cell = cells.setdefault((_budget(report), report.agent or NONE), {})
        seed = report.seed or 0
        if seed in cell:
            raise InputError(
                f"{cell[seed][0]} and {folder} are of one agent, budget and seed ({seed}); compare one of them"
            )
        cell[seed] = (folder, report)
    arms = [_arm(budget, agent, runs) for (budget, agent), runs in cells.items()]
    for arm in arms:
        if any(arm.budget == other.budget and arm.spec != other.spec for other in arms):
            raise InputError(f"the runs of {arm.budget} are judged by different scores; compare those of each apart")
    return sorted(arms, key=lambda arm: (arm.budget, -arm.mean, arm.agent))


def _budget(report: Report) -> str:
    return ", ".join(f"{each.name} {each.requested or NONE}" for each in report.outcomes)


def _arm(budget: str, agent: str, runs: Mapping[int, tuple[Path, Report]]) -> Arm:
    reports = [report for _, report in runs.values()]
    curves = [_best_so_far(folder, report) for folder, report in runs.values()]
    seconds = tuple(report.total_seconds for report in reports if report.total_seconds is not None)
    return Arm(
        budget,
        agent,
        reports[0].score_spec,
        {seed: report.score_spec.merit(report.finetuned.mean or 0.0) for seed, (_, report) in runs.items()},
        tuple(len(curve) for curve in curves),
        seconds,
        tuple(curves),
        all(outcome.met for report in reports for outcome in report.outcomes),
    )


def _best_so_far(folder: Path, report: Report) -> tuple[float, ...]:
    """Best merit of a run after each evaluation, of policies within the budget; a repeated policy takes none."""
    limit, spec = report.searched.limit, report.score_spec
    best: list[float] = []
    for row in read_episodes(folder):
        score = episode_score(row)
        if score is None or row.get("cached"):
            continue
        before = best[-1] if best else -math.inf
        within = limit is None or row["cost"] is None or row["cost"] <= limit
        best.append(max(before, spec.merit(score)) if within else before)
    return tuple(best)


def grid_table(arms: Sequence[Arm], against: str | None = None) -> Table:
    """A row for every arm: seeds, mean and spread, the paired difference, evaluations, time.

    Args:
        arms: As `arms_of` gives them.
        against: The agent that others are held against; of each budget the one of the best mean if not given.

    Raises:
        InputError: If no run is of that agent.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if against is not None and all(arm.agent != against for arm in arms):
        names = ", ".join(sorted({arm.agent for arm in arms}))
        raise InputError(f"none of these runs is of {against}; there are {names}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("budget", "agent", "seeds", "score, test", "paired difference", "evaluations", "time"):
        table.add_column(name, justify="left" if name in ("budget", "agent") else "right", overflow="fold")
    for arm in arms:
        here = [other for other in arms if other.budget == arm.budget]
        reference = next((other for other in here if other.agent == against), here[0])
        table.add_row(*map(Text, _cells(arm, reference)))
    return table


def _cells(arm: Arm, reference: Arm) -> tuple[str, ...]:
    spec = arm.spec
    score = spec.with_spread(spec.merit(arm.mean), arm.spread)
    evaluations = round(statistics.fmean(arm.evaluations))
    seconds = duration(statistics.fmean(arm.seconds)) if arm.seconds else NONE
    missed = "" if arm.met else " (a budget was missed)"
    seeds = str(len(arm.merits))
    return arm.budget, f"{arm.agent}{missed}", seeds, score, _difference_text(arm, reference), str(evaluations), seconds


def _difference_text(arm: Arm, reference: Arm) -> str:
    """The difference to the reference, in the score's unit, signed as a gain or a loss of merit."""
    if arm is reference:
        return "the reference"
    found = paired(arm, reference)
    if found is None:
        return "no common seed"
    scale, spec = arm.spec.scale, arm.spec
    unit = " points" if spec.is_accuracy else ""
    mean = f"{'+' if found.mean >= 0 else MINUS}{abs(scale * found.mean):.2f}"
    if found.half is None:
        return f"{mean}{unit}, one seed"
    clear = "" if found.clear else ", not clear"
    return f"{mean} \N{PLUS-MINUS SIGN} {scale * found.half:.2f}{unit}{clear}"


def curves_picture(arms: Sequence[Arm], out: str | Path) -> None:
    """Best score so far against evaluations, a panel a budget: the mean over seeds, and their range.

    Args:
        arms: As `arms_of` gives them.
        out: A file that ends in `.png` or `.svg`.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        InputError: If no run has episodes, or `out` cannot be written.
    """
    require_matplotlib()
    panels: dict[str, list[Curve]] = {}
    for arm in arms:
        rows = [[value for value in row if math.isfinite(value)] for row in arm.curves]
        if any(rows):
            panels.setdefault(arm.budget, []).append(Curve(arm.agent, arm.spec, [row for row in rows if row]))
    if not panels:
        raise InputError("none of these runs has episodes with a score")
    save(curves_figure(panels), out)


def repeated(arms: Sequence[Arm]) -> bool:
    """Whether some agent has several seeds, so that there is something to average."""
    return any(len(arm.merits) > 1 for arm in arms)
