"""A run as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.foundations.files import read_json, write_text
from autoprune.reports.figures.search import policy_figure
from autoprune.reports.format import (
    NONE,
    TIMES,
    cost,
    count,
    duration,
    flat,
    milliseconds,
    percent,
    plain,
    share,
)
from autoprune.reports.html.lottery import tickets_of
from autoprune.reports.html.progressive import trajectory_of
from autoprune.reports.html.rendering import NOT_MEASURED, Cell, Picture, Table, missing, picture, render, table
from autoprune.reports.html.search import search_of
from autoprune.reports.lottery import is_lottery
from autoprune.reports.steps import read_steps
from autoprune.reports.tables import columns, figure_rows, mark, verdict
from autoprune.run.front import read_front
from autoprune.run.report import Report, dense_widths, read_episodes, read_report, read_settings_file
from autoprune.run.score import ScoreSpec
from autoprune.run.trainings import outcome_lines
from autoprune.space import Policy

__all__ = ["write_run_page"]

# Keys of the report that the page shows elsewhere than in the list "Run".
_SHOWN_APART = {
    "schema",
    "dense",
    "pruned",
    "finetuned",
    "baselines",
    "budget",
    "budgets",
    "latency_table",
    "fine_tuning",
    "chosen",
    "seconds",
    "rounds",
    "lottery",
}
_SHOWN_FIRST = ("target", "agent", "seed", "episodes")


def write_run_page(run: str | Path) -> Path:
    """Write `report.html` into a run's folder: one page without scripts that loads nothing from elsewhere.

    It is made of `report.json`, and of `policy.json`, `episodes.jsonl` or `steps.jsonl`, `front.json`,
    `latency_table.json` and `experiment.yaml` as far as they are there. Pictures need matplotlib; without it the page
    holds the tables and says so.

    Returns:
        The page's file.

    Raises:
        RunError: If there is no such run, or it has no report yet.
        InputError: If one of its files is damaged, or the page cannot be written.
    """
    run = Path(run)
    name, report = run.resolve().name, read_report(run)
    content = report.to_json()
    policy = Policy.load(run / "policy.json") if (run / "policy.json").exists() else None
    latency_file = run / "latency_table.json"
    steps = read_steps(run)
    page = render(
        "run.html",
        title=f"autoprune: {name}",
        headline=_headline(name, report),
        results=_results(report),
        policy=None if policy is None else _policy(policy, dense_widths(report, policy)),
        tickets=tickets_of(content) if is_lottery(content) else None,
        trajectory=trajectory_of(steps, report.budget.kind, report.score_spec) if steps else None,
        search=None if steps else search_of(read_episodes(run), report, policy, read_front(run), _search_limit(run)),
        latency=_latency(report, read_json(latency_file, "latency table") if latency_file.exists() else None),
        settings=_settings(report, read_settings_file(run)),
    )
    out = run / "report.html"
    write_text(out, page)
    return out


def _search_limit(run: Path) -> float | None:
    """What an episode of the run's own budget might cost, as the search began; None if the run does not say."""
    journal = run / "checkpoint" / "journal.json"
    limit = read_json(journal, "journal").get("first search limit") if journal.exists() else None
    return limit if isinstance(limit, float) else None


@dataclass(frozen=True)
class _Tile:
    what: str
    figure: str
    beside: str


@dataclass(frozen=True)
class _Headline:
    name: str
    about: list[str]
    verdict: str
    style: str
    tiles: list[_Tile]


@dataclass(frozen=True)
class _Results:
    networks: Table
    about: str
    seeds: int
    trainings: list[str]
    budget: Table


@dataclass(frozen=True)
class _Policy:
    picture: Picture
    decisions: Table


@dataclass(frozen=True)
class _Latency:
    """Prediction errors, and whether the run has a latency table at all."""

    exists: bool
    tables: list[Table]


@dataclass(frozen=True)
class _Settings:
    """Seconds by stage, what the report says beyond its figures, and the parts of `experiment.yaml`."""

    stages: Table | None
    run: Table
    recorded: list[tuple[str, Table]]
    was_recorded: bool


def _headline(name: str, report: Report) -> _Headline:
    met, sentence = verdict(report)
    style = {True: "verdict met", False: "verdict missed", None: "verdict"}[met]
    target = report.target if isinstance(report.target, str) else None
    about = [part for part in (target, report.agent and f"agent {report.agent}") if part]
    small, dense, spec = report.finetuned, report.dense, report.score_spec
    sure = mark(report.dense, report.finetuned)
    speedup = f"{sure}{report.speedup:.2f}{TIMES}" if report.speedup else NOT_MEASURED
    tiles = [
        _Tile("Speed-up, measured", speedup, _latencies(report)),
        _Tile(f"{_titled(spec)}, test split", _or_missing(spec.text(small.mean)), _against_dense(report)),
        _Tile("MACs", _or_missing(count(small.flops)), _of_dense(small.flops, dense.flops)),
        _Tile("Parameters", _or_missing(count(small.params)), _of_dense(small.params, dense.params)),
    ]
    return _Headline(name, about, sentence, style, tiles)


def _or_missing(text: str) -> str:
    return NOT_MEASURED if text == NONE else text


def _latencies(report: Report) -> str:
    dense, small = milliseconds(report.dense.latency_ms), milliseconds(report.finetuned.latency_ms)
    return f"{small} ms, dense {dense} ms" if NONE not in (dense, small) else ""


def _against_dense(report: Report) -> str:
    if report.gain is None:
        return ""
    spec = report.score_spec
    return f"{spec.change(report.gain)}{' points' if spec.is_accuracy else ''} against dense"


def _titled(spec: ScoreSpec) -> str:
    """A score's name at the head of a line: `Accuracy`, `PSNR`."""
    return spec.name[:1].upper() + spec.name[1:]


def _of_dense(value: float | None, dense: float | None) -> str:
    text = share(value, dense)
    return "" if text == NONE else f"{text} of dense"


def _results(report: Report) -> _Results:
    rows = [
        (Cell(name, style="chosen") if name == "fine-tuned" else name, *cells) for name, cells in figure_rows(report)
    ]
    spec, lines = report.score_spec, []
    for budget in report.outcomes:
        lines += [
            ("requested", f"{budget.name} \N{LESS-THAN OR EQUAL TO} {budget.requested}" if budget.requested else NONE),
            ("limit", cost(budget.limit, budget.kind, spec)),
            ("measured", cost(budget.measured, budget.kind, spec)),
            ("met", NONE if budget.met is None else plain(budget.met)),
        ]
    networks = table(("network", *columns(report)), rows)
    about = _about(spec)
    lost = outcome_lines(report.fine_tuning, spec)
    return _Results(networks, about, len(report.finetuned.seeds), lost, table(("budget", "value"), lines))


def _about(spec: ScoreSpec) -> str:
    """What stands in the column of the score."""
    if spec.is_accuracy:
        return "Accuracy is a share of the test split; beside it, percentage points against the dense network."
    better = "larger" if spec.direction == "maximize" else "smaller"
    return (
        f"{_titled(spec)} is taken on the test split, {better} is better; beside it, the change from the dense network."
    )


def _policy(policy: Policy, widths: Mapping[str, int]) -> _Policy:
    """The policy's choices against the dense widths, as far as they are known."""
    choices = [(name, widths.get(name), kept) for name, kept in policy.choices.items()]
    unknown = missing("unknown")
    rows = [
        (name, dense, kept, share(kept, dense)) if dense else (name, unknown, kept, unknown)
        for name, dense, kept in choices
    ]
    return _Policy(
        picture(
            lambda palette: policy_figure(choices, palette),
            "Units of every decision in forward order: of the dense network, and kept.",
        ),
        table(("decision", "dense units", "kept units", "share kept"), rows),
    )


def _latency(report: Report, latency_table: Mapping[str, Any] | None) -> _Latency:
    """Prediction errors as the report has them, else as the table's own file has them."""
    errors = report.latency_table or (latency_table or {}).get("accuracy")
    if not isinstance(errors, Mapping):
        return _Latency(latency_table is not None or bool(errors), [])
    return _Latency(True, _error_tables(errors))


def _error_tables(errors: Mapping[str, Any]) -> list[Table]:
    """A row for each predictor and a column for each of its figures; a second table for all other figures."""
    by_predictor = {name: figures for name, figures in errors.items() if isinstance(figures, Mapping)}
    columns = list(dict.fromkeys(figure for figures in by_predictor.values() for figure in figures))
    tables = []
    if by_predictor:
        rows = [
            (_words(name), *(_share_or_count(figures.get(column)) for column in columns))
            for name, figures in by_predictor.items()
        ]
        tables.append(table(("prediction", *map(_words, columns)), rows))
    others = [(_words(name), plain(value)) for name, value in errors.items() if name not in by_predictor]
    if others:
        tables.append(table(("latency table", "value"), others))
    return tables


def _words(name: str) -> str:
    return name.replace("_", " ")


def _share_or_count(value: object) -> str:
    """Errors are fractions, numbers of networks whole."""
    return percent(value, 1) if isinstance(value, float) else plain(value)


def _settings(report: Report, recorded: Mapping[str, Any]) -> _Settings:
    stages = [(name, duration(seconds)) for name, seconds in report.seconds.items()]
    total = ("in all", duration(report.total_seconds))
    own = {name: getattr(report, name) for name in _SHOWN_FIRST}
    more = {name: value for name, value in report.to_json().items() if name not in _SHOWN_APART}
    return _Settings(
        table(("stage", "time"), [*stages, total]) if stages else None,
        _listing(own | more),
        [(str(name).capitalize(), _listing(part)) for name, part in recorded.items() if isinstance(part, Mapping)],
        bool(recorded),
    )


def _listing(content: Mapping[str, Any]) -> Table:
    rows = [(name, Cell("none" if plain(value) == NONE else plain(value))) for name, value in flat(content)]
    return table(("name", "value"), rows, words=2)
