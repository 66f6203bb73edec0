"""Several runs side by side: a table, and score against cost in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoprune.errors import InputError, RunError
from autoprune.foundations.files import read_json
from autoprune.reports.figures import search as pictures
from autoprune.reports.figures._matplotlib import require_matplotlib, save
from autoprune.reports.format import NONE, TIMES, count, duration, milliseconds
from autoprune.reports.quantization import compared_as, is_quantization
from autoprune.reports.tables import mark, verdict
from autoprune.run.report import Report, read_report

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["compare", "pareto_picture", "read_runs"]


def compare(runs: Sequence[str | Path]) -> Table:
    """Several finished runs side by side, a column each.

    Args:
        runs: Run folders; a folder of sub-runs means all of them.

    Raises:
        RunError: If one of them is no run or has no report.
        InputError: If a report is damaged, or no run is named.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    reports = _read(runs)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in reports:
        table.add_column(Text(name), justify="right", overflow="fold")
    names = {report.score_spec.name for report in reports.values()}
    shared = names.pop() if len(names) == 1 else None
    columns = [_facts(report, shared) for report in reports.values()]
    for label in columns[0]:
        cells = [Text(column[label], _style(label, column[label])) for column in columns]
        table.add_row(label, *cells)
    return table


def pareto_picture(runs: Sequence[str | Path], out: str | Path) -> None:
    """Score against measured latency and against multiply-accumulates, with the front of the runs' networks.

    Args:
        runs: Run folders; a folder of sub-runs means all of them.
        out: A file that ends in `.png` or `.svg`.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        RunError: If one of them is no run or has no report.
        InputError: If a report is damaged, nothing was measured, the runs are judged by different scores, or `out`
            cannot be written.
    """
    require_matplotlib()
    reports = _read(runs)
    specs = {(spec := report.score_spec).name + spec.direction: spec for report in reports.values()}
    if len(specs) > 1:
        names = ", ".join(f"{spec.name} ({spec.direction})" for spec in specs.values())
        raise InputError(f"these runs are judged by different scores: {names}; draw the runs of each apart")
    (spec,) = specs.values()
    costs = {
        "latency, ms (measured)": [_networks(report, "latency_ms") for report in reports.values()],
        "multiply-accumulates": [_networks(report, "flops") for report in reports.values()],
    }
    drawn = {label: groups for label, groups in costs.items() if any("fine-tuned" in group for group in groups)}
    if not drawn:
        raise InputError("none of these runs has a fine-tuned network with a score and a latency or FLOPs")
    save(pictures.front_figure(list(reports), drawn, spec), out)


def read_runs(runs: Sequence[str | Path]) -> dict[Path, Report]:
    """Reports by the run's folder; a folder that is no run means all finished runs in it.

    Raises:
        RunError: If one of them is no run or has no report.
        InputError: If a report is damaged, or no run is named.
    """
    folders = [folder for run in runs for folder in _expanded(Path(run))]
    if not folders:
        raise InputError("name at least one run to compare")
    return {folder: _report_of(folder) for folder in dict.fromkeys(folders)}


def _report_of(run: Path) -> Report:
    """A run's report, also of one that was quantized alone."""
    path = run / "report.json"
    content = read_json(path, "report") if path.is_file() else {}
    return compared_as(content) if is_quantization(content) else read_report(run)


def _read(runs: Sequence[str | Path]) -> dict[str, Report]:
    """Reports by the shortest names that differ: the folder's, the parent's too, or the whole path."""
    reports = read_runs(runs)
    names = [folder.resolve().name for folder in reports]
    if len(set(names)) < len(names):
        names = [f"{folder.resolve().parent.name}/{folder.resolve().name}" for folder in reports]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in reports]
    return dict(zip(names, reports.values(), strict=True))


def _expanded(run: Path) -> list[Path]:
    """The run itself, or the finished runs anywhere below it if it is not a run itself."""
    if not run.is_dir():
        raise RunError(f"there is no run at {run}")
    return _below(run) or [run]


def _below(folder: Path) -> list[Path]:
    if any((folder / name).exists() for name in ("report.json", "experiment.yaml")):
        return [folder]
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    return [run for path in inner for run in _below(path) if (run / "report.json").exists()]


def _facts(report: Report, shared: str | None) -> dict[str, str]:
    """A run's column: label -> text; `shared` is the score of all runs, None where they have several."""
    dense, small, spec = report.dense, report.finetuned, report.score_spec
    met, _ = verdict(report)
    named = "" if shared else f"{spec.name} "
    worse = None if report.gain is None else -spec.merit(report.gain)
    latency = small.latency_ms if small.latency_ms is not None else report.pruned.latency_ms
    return {
        "agent": report.agent or NONE,
        "budget": ", ".join(f"{budget.name} {budget.requested or NONE}" for budget in report.outcomes),
        "budget met": {True: "yes", False: "NO", None: NONE}[met],
        f"{shared or 'score'}, dense": named + spec.text(dense.mean),
        f"{shared or 'score'}, fine-tuned": named + spec.with_spread(small.mean, small.spread),
        "drop, points" if shared == "accuracy" else "drop": spec.change(worse).removeprefix("+"),
        "latency, ms": milliseconds(latency),
        "speed-up": NONE
        if report.speedup is None
        else f"{mark(report.dense, report.finetuned)}{report.speedup:.2f}{TIMES}",
        "MACs": count(small.flops),
        "parameters": count(small.params),
        "episodes": NONE if report.episodes is None else str(report.episodes),
        "time": duration(report.total_seconds),
    }


def _style(label: str, text: str) -> str:
    return {"yes": "green", "NO": "bold red"}.get(text, "") if label == "budget met" else ""


def _networks(report: Report, figure: str) -> dict[str, tuple[float, float]]:
    """(cost, score) of a run's networks that have both, by the network's name; the raw cut is left out."""
    found = {name: (getattr(figures, figure), figures.mean) for name, figures in report.networks if name != "pruned"}
    return {name: (x, y) for name, (x, y) in found.items() if x is not None and y is not None}
