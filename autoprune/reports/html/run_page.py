"""A run as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.foundations.files import read_json, write_text
from autoprune.reports.figures import search as pictures
from autoprune.reports.figures._matplotlib import PAGE
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
    points,
    share,
)
from autoprune.reports.html.elements import NOT_MEASURED, Html, document, element, join, missing, section, table
from autoprune.reports.html.picture import picture
from autoprune.reports.progressive import read_steps, trajectory_section
from autoprune.reports.tables import COLUMNS, figure_rows, verdict
from autoprune.run.report import Report, dense_widths, read_episodes, read_report, read_settings_file
from autoprune.space import Policy

__all__ = ["write_html"]

_BEST_SHOWN = 5


def write_html(run: str | Path) -> Path:
    """Write `report.html` into a run's folder: one page without scripts that loads nothing from elsewhere.

    It is made of `report.json`, and of `policy.json`, `episodes.jsonl` or `steps.jsonl`, `latency_table.json` and
    `experiment.yaml` as far as they are there. Pictures need matplotlib; without it the page holds the tables and
    says so.

    Returns:
        Where the page lies.

    Raises:
        RunError: If there is no such run, or it has no report yet.
        InputError: If one of its files is damaged, or the page cannot be written.
    """
    run = Path(run)
    report = read_report(run)
    policy = Policy.load(run / "policy.json") if (run / "policy.json").exists() else None
    path = run / "latency_table.json"
    latency = read_json(path, "latency table") if path.exists() else {}
    steps = read_steps(run)
    page = document(
        f"autoprune: {run.resolve().name}",
        _headline(run.resolve().name, report),
        _results(report),
        _policy(policy, dense_widths(report, policy, latency)),
        trajectory_section(steps, report.budget.kind) if steps else _search(read_episodes(run), report, policy),
        _latency_table(report, latency),
        _settings(report, read_settings_file(run)),
    )
    out = run / "report.html"
    write_text(out, page)
    return out


def _headline(name: str, report: Report) -> Html:
    met, sentence = verdict(report)
    kind = {True: "verdict met", False: "verdict missed", None: "verdict"}[met]
    target = report.target if isinstance(report.target, str) else None
    about = [part for part in (target, report.agent and f"agent {report.agent}") if part]
    small = report.finetuned
    tiles = [
        ("Speed-up, measured", f"{report.speedup:.2f}{TIMES}" if report.speedup else NOT_MEASURED, _latencies(report)),
        ("Accuracy, test split", _or_missing(percent(small.mean)), _against_dense(report)),
        ("MACs", _or_missing(count(small.flops)), _of_dense(small.flops, report.dense.flops)),
        ("Parameters", _or_missing(count(small.params)), _of_dense(small.params, report.dense.params)),
    ]
    boxes = [
        element("div", element("dt", what), element("dd", is_, element("small", beside))) for what, is_, beside in tiles
    ]
    return element(
        "header",
        element("h1", name, element("span", "".join(f" \N{MIDDLE DOT} {part}" for part in about), class_="soft")),
        element("p", sentence, class_=kind),
        element("dl", *boxes, class_="tiles"),
    )


def _or_missing(text: str) -> str:
    return NOT_MEASURED if text == NONE else text


def _latencies(report: Report) -> str:
    dense, small = milliseconds(report.dense.latency_ms), milliseconds(report.finetuned.latency_ms)
    return f"{small} ms, dense {dense} ms" if NONE not in (dense, small) else ""


def _against_dense(report: Report) -> str:
    return "" if report.gain is None else f"{points(report.gain)} points against dense"


def _of_dense(value: float | None, dense: float | None) -> str:
    text = share(value, dense)
    return "" if text == NONE else f"{text} of dense"


def _results(report: Report) -> Html:
    rows = []
    for name, cells in figure_rows(report):
        shown = [text if text == NONE else join([text, element("small", relative)]) for text, relative in cells]
        label = element("span", name, class_="chosen") if name == "fine-tuned" else name
        rows.append([label, *shown])
    notes = ["Accuracy is a share of the test split; beside it, percentage points against the dense network."]
    seeds = report.finetuned.accuracy_seeds or []
    if len(seeds) > 1:
        notes.append(f"Fine-tuned: mean and standard deviation over {len(seeds)} fine-tuning seeds.")
    notes.append("Costs: beside them, the share of the dense network's.")
    budget = report.budget
    lines = [
        ("requested", f"{budget.kind} \N{LESS-THAN OR EQUAL TO} {budget.requested}" if budget.requested else NONE),
        ("limit", cost(budget.limit, budget.kind)),
        ("measured", cost(budget.measured, budget.kind)),
        ("met", NONE if budget.met is None else plain(budget.met)),
    ]
    return section(
        "Results",
        table(("network", *COLUMNS), rows),
        element("p", " ".join(notes), class_="soft"),
        element("h3", "Budget"),
        table(("budget", "value"), lines),
    )


def _policy(policy: Policy | None, widths: Mapping[str, int]) -> Html:
    if policy is None:
        return section("Policy", element("p", "This run holds no policy.json."))
    drawn = [(name, widths.get(name), kept) for name, kept in policy.choices.items()]
    rows = [
        (name, *((dense, kept, share(kept, dense)) if dense else (missing("unknown"), kept, missing("unknown"))))
        for name, dense, kept in drawn
    ]
    drawn_policy = picture(
        lambda: pictures.policy_figure(drawn, PAGE),
        "policy",
        "Units of every decision in forward order: of the dense network, and kept.",
    )
    return section("Policy", drawn_policy, table(("decision", "dense units", "kept units", "share kept"), rows))


def _search(episodes: Sequence[Mapping[str, Any]], report: Report, policy: Policy | None) -> Html:
    if not episodes:
        return section("Search", element("p", "This run holds no episodes."))
    budget = report.budget.in_search
    kind, limit = budget.kind, budget.limit
    # Of tied layers an episode has one decision, the policy every group.
    chosen = (report.model_extra or {}).get("chosen") or (policy.choices if policy is not None else None)
    over_time = picture(
        lambda: pictures.episodes_figure(episodes, kind=kind, limit=limit, palette=PAGE),
        "episodes",
        "Accuracy on the search split before fine-tuning, and predicted cost, episode by episode.",
    )
    scatter = picture(
        lambda: pictures.scatter_figure(episodes, kind=kind, limit=limit, chosen=chosen, palette=PAGE),
        "scatter",
        "Accuracy on the search split against predicted cost; the star is the policy that was chosen after "
        "fine-tuning the best few.",
    )
    ranked = sorted((row for row in episodes if row.get("reward") is not None), key=lambda row: -row["reward"])
    rows = [
        (row.get("episode", NONE), percent(row.get("accuracy")), cost(row["cost"], kind), f"{row['reward']:.4g}",
         "yes" if row.get("choices") == chosen else "")
        for row in ranked[:_BEST_SHOWN]
    ]  # fmt: skip
    warmup = sum(bool(row.get("warmup")) for row in episodes)
    repeated = sum(bool(row.get("cached")) for row in episodes)
    seconds = sum(row["seconds"] for row in episodes if row.get("seconds") is not None)
    told = f"{len(episodes)} episodes, {warmup} of them warm-up, {repeated} repeated a policy; {duration(seconds)}."
    return section(
        "Search",
        element("p", told),
        over_time,
        scatter,
        element("h3", "Best episodes by reward"),
        table(("episode", "accuracy", "predicted cost", "reward", "chosen"), rows),
    )


def _latency_table(report: Report, latency: Mapping[str, Any]) -> Html:
    errors = (report.model_extra or {}).get("latency_table") or latency.get("error")
    if not errors and not latency:
        return section("Latency table", element("p", "This run made no latency table."))
    if not isinstance(errors, Mapping):
        return section("Latency table", element("p", f"Prediction error: {NOT_MEASURED}."))
    told = (
        "How far predictions lie from end-to-end measurements that they were not fitted on. The fit of "
        "multiply-accumulates alone, on the same measurements, stands beside for comparison."
    )
    return section("Latency table", element("p", told), _errors(errors))


def _errors(errors: Mapping[str, Any]) -> Html:
    """Errors by predictor, a column each figure; a list of figures if they are not told apart by predictor."""
    by_predictor = {name: figures for name, figures in errors.items() if isinstance(figures, Mapping)}
    columns = list(dict.fromkeys(figure for figures in by_predictor.values() for figure in figures))
    tables = []
    if by_predictor:
        rows = [(_words(name), *(_error(figs.get(c)) for c in columns)) for name, figs in by_predictor.items()]
        tables.append(table(("prediction", *map(_words, columns)), rows))
    others = [(_words(name), _error(value, name)) for name, value in errors.items() if name not in by_predictor]
    if others:
        tables.append(table(("error", "value"), others))
    return join(tables)


def _words(name: str) -> str:
    return {"n": "networks"}.get(name, name.replace("_", " "))


def _error(value: object, name: str = "") -> str:
    """Errors are fractions; counts are whole numbers; what names its unit is in that unit."""
    return percent(value, 1) if isinstance(value, float) and not name.endswith("_ms") else plain(value)


def _settings(report: Report, recorded: Mapping[str, Any]) -> Html:
    stages = [(name, duration(seconds)) for name, seconds in report.seconds.items()]
    parts: list[Html] = []
    if stages:
        total = report.total_seconds
        parts += [element("h3", "Time"), table(("stage", "time"), [*stages, ("in all", duration(total))])]
    own = {"target": report.target, "agent": report.agent, "seed": report.seed, "episodes": report.episodes}
    more = {
        name: value for name, value in (report.model_extra or {}).items() if name not in ("latency_table", "chosen")
    }
    parts.append(_listing("Run", {**own, **more}, opened=True))
    for name, content in recorded.items():
        if isinstance(content, Mapping):
            parts.append(_listing(str(name).capitalize(), content))
    if not recorded:
        parts.append(element("p", "Settings and environment were not recorded.", class_="soft"))
    return section("Settings and environment", *parts)


def _listing(title: str, content: Mapping[str, Any], *, opened: bool = False) -> Html:
    rows = [
        (name, Html(element("span", plain(value))) if plain(value) != NONE else "none") for name, value in flat(content)
    ]
    inside = table(("name", "value"), rows, words=2)
    mark = {"open": "open"} if opened else {}
    return element("details", element("summary", title), inside, **mark)
