"""The final table of a run, and the lines beneath it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoprune.reports.format import (
    NONE,
    TIMES,
    cost,
    cost_name,
    count,
    duration,
    is_metered,
    milliseconds,
    percent,
    share,
)
from autoprune.run.report import Figures, Outcome, Report
from autoprune.run.score import ScoreSpec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["columns", "figure_rows", "mark", "summary_lines", "summary_table", "unstable", "verdict"]

UNSTABLE = "~"  # before a latency whose timing was not stable
LATENCY = "latency"  # the kind of budget that is timed

COSTS = ("latency ms", "predicted", "MACs", "params")


def columns(report: Report) -> tuple[str, ...]:
    """Headings of the final table: the score, and what networks cost."""
    return (report.score_spec.name, *COSTS)


def figure_rows(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """The final table's content, for every way of showing it.

    Returns:
        A row for each network: its name, and for each of `columns` the figure and what it is relative to the dense
        network's (a difference for the score, in percentage points of accuracy; a share for costs); `NONE` and ""
        where nothing was measured.
    """
    spec, dense = report.score_spec, report.dense
    return [(name, _cells(figures, dense, spec, is_dense=name == "dense")) for name, figures in report.networks]


def _cells(figures: Figures, dense: Figures, spec: ScoreSpec, *, is_dense: bool) -> list[tuple[str, str]]:
    score = spec.with_spread(figures.mean, figures.spread)
    both = figures.mean is not None and dense.mean is not None
    change = spec.change((figures.mean or 0) - (dense.mean or 0)) if both else NONE
    costs = [
        (mark(figures) + milliseconds(figures.latency_ms), share(figures.latency_ms, dense.latency_ms)),
        (milliseconds(figures.latency_ms_predicted), share(figures.latency_ms_predicted, dense.latency_ms_predicted)),
        (count(figures.flops), share(figures.flops, dense.flops)),
        (count(figures.params), share(figures.params, dense.params)),
    ]
    return [(text, "" if is_dense or relative == NONE else relative) for text, relative in [(score, change), *costs]]


def summary_table(report: Mapping[str, Any]) -> Table:
    """The final table: dense, pruned, fine-tuned and the baselines, each figure also relative to the dense network's.

    Args:
        report: The content of `report.json`.

    Raises:
        InputError: If the report holds values of the wrong kind.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("network", overflow="fold")
    content = Report.of(report)
    for name in columns(content):
        table.add_column(name, justify="right", no_wrap=True)
    for name, cells in figure_rows(content):
        style = "bold" if name == "fine-tuned" else ""
        table.add_row(
            Text(name, style),
            *(Text(text, style).append(f"\n{rel}" if rel else "", "not bold dim") for text, rel in cells),
        )
    return table


def mark(*networks: Figures) -> str:
    """What stands before a figure that comes of a timing that was not stable."""
    return UNSTABLE if any(figures.latency_stable is False for figures in networks) else ""


def unstable(report: Report) -> str | None:
    """The sentence that explains the mark, with the networks that have it; None if none has."""
    names = [name for name, figures in report.networks if mark(figures)]
    if not names:
        return None
    return (
        f"{UNSTABLE} not stable: blocks or processes of the timing did not agree ({', '.join(names)}); differences"
        " between these figures may be noise, see autoprune targets --check"
    )


def _of_unstable(report: Report, name: str) -> str:
    """Behind a sentence that says what a timing that was not stable measured."""
    is_timed = name == LATENCY and mark(report.dense, report.finetuned)
    return f" ({UNSTABLE} the timing was not stable)" if is_timed else ""


def verdict(report: Report) -> tuple[bool | None, str]:
    """Whether the budget was met (None: not measured), and the sentence that says so with its figures."""
    sentences = [_verdict(report, outcome) for outcome in report.outcomes]
    met = [outcome.met for outcome in report.outcomes]
    return (False if False in met else None if None in met else True), "; ".join(sentences)


def _verdict(report: Report, budget: Outcome) -> str:
    requested = f" ({budget.requested})" if budget.requested else ""
    if budget.met is None:
        return f"Budget {budget.name}{requested}: not measured"
    words = "Budget met" if budget.met else "Budget not met"
    spec = report.score_spec
    measured = cost(budget.measured, budget.kind, spec)
    where = f" on {budget.target}" if budget.target else ""
    return (
        f"{words}: {measured}{where} against a limit of {cost(budget.limit, budget.kind, spec)}{requested}"
        f"{_over(budget)}{_of_unstable(report, budget.name)}"
    )


def _over(budget: Outcome) -> str:
    """How far a budget was missed; rounded figures alone could look the same."""
    if budget.met is not False or budget.measured is None or not budget.limit:
        return ""
    return f", {percent(budget.measured / budget.limit - 1, 1)} over"


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """The lines beneath the final table: the budget, the speed-up, the accuracy's spread, the time it took.

    Args:
        report: The content of `report.json`.

    Raises:
        InputError: If the report holds values of the wrong kind.
    """
    content = Report.of(report)
    spec, lines = content.score_spec, []
    for budget in content.outcomes:
        met = {True: "met", False: "NOT met", None: "not measured"}[budget.met]
        where = f" on {budget.target}" if budget.target else ""
        lines.append(
            f"budget: {cost_name(budget.kind, spec)}{where}, requested {budget.requested or NONE}, limit "
            f"{cost(budget.limit, budget.kind, spec)}, measured {cost(budget.measured, budget.kind, spec)}:"
            f" {met}{_over(budget)}{_of_unstable(content, budget.name)}"
        )
    if content.speedup is not None:
        where = f" on {content.target}" if isinstance(content.target, str) else ""
        sure = mark(content.dense, content.finetuned)
        lines.append(f"speed-up as measured{where}: {sure}{content.speedup:.2f}{TIMES}{_of_unstable(content, LATENCY)}")
    if explained := unstable(content):
        lines.append(explained)
    if small_energy := _energy(content):
        lines.append(small_energy)
    if content.gain is not None:
        unit = " percentage points" if spec.is_accuracy else ""
        lines.append(f"{spec.name} against dense: {spec.change(content.gain)}{unit}{_spread(content.finetuned)}")
    if content.total_seconds is not None:
        stages = [f"{name} {duration(s)}" for name, s in content.seconds.items() if name != "total" and s is not None]
        lines.append(f"time: {duration(content.total_seconds)}" + (f" ({', '.join(stages)})" if stages else ""))
    return lines


def _energy(report: Report) -> str | None:
    """Energy of one call, if a sensor measured it or the budget limits it; otherwise a modelled figure is not shown."""
    dense, small = report.dense, report.finetuned
    measured = (small.energy_label or "").startswith("measured")
    if small.energy_mj is None or not (measured or any(is_metered(budget.kind) for budget in report.outcomes)):
        return None
    was = f", dense {cost(dense.energy_mj, 'energy')}" if dense.energy_mj is not None else ""
    return f"energy of one call: {cost(small.energy_mj, 'energy')}{was}, {small.energy_label}"


def _spread(figures: Figures) -> str:
    if figures.spread is None:
        return ""
    return f" (mean of {len(figures.seeds)} fine-tuning seeds; the spread is their standard deviation)"
