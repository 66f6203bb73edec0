"""What is shown of a run: a table, and a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.foundations.files import write_text
from autoprune.reports.format import count, flat, plain
from autoprune.reports.html.rendering import render, table

__all__ = ["COLUMNS", "REPORT_SCHEMA", "figure_rows", "is_language_report", "lines_of", "write_page"]

REPORT_SCHEMA = "autoprune.llm/1"

COLUMNS = ("model", "parameters", "zeros", "MB on disk")

_MODELS = ("dense", "pruned", "recovered")


def is_language_report(report: Mapping[str, Any]) -> bool:
    """Whether a report is that of a language model."""
    return report.get("schema") == REPORT_SCHEMA


def figure_rows(report: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each model, with its perplexity on each text."""
    present = {name: report[name] for name in _MODELS if report.get(name) is not None}
    texts = [row["name"] for row in report["dense"]["texts"]]
    rows = []
    for name, figures in present.items():
        share = figures["zeros"] / figures["params"]
        scores = [f"{row['perplexity']:.2f}" for row in figures["texts"]]
        rows.append((name, count(figures["params"]), f"{share:.1%}", f"{figures['bytes'] / 1e6:.1f}", *scores))
    return (*COLUMNS, *(f"perplexity: {text}" for text in texts)), rows


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """The sentences under the table."""
    content = report["calibration"]
    rows = report["texts"]
    return [
        f"{report['method']} at {report['ratio']}, calibrated on {content['tokens']} tokens of {content['text']}",
        *_budget_lines(report),
        *(
            f"{row['name']}: {row['tokens']} tokens predicted, context {row['context']}, stride {row['stride']}"
            for row in rows
        ),
        f"peak memory {report['peak_memory_mib']:.0f} MiB; zeros make a file smaller or a model faster only where"
        " what runs it knows of them",
    ]


def _budget_lines(report: Mapping[str, Any]) -> list[str]:
    """What a search was asked for, what came out, and what stays of each part."""
    if (budget := report.get("budget")) is None:
        return []
    details = report["details"]
    how, unit = (" as measured", " ms") if details["budget"]["how"] == "measured" else ("", "")
    figures = (
        f"{figure:.4g}{unit}" if unit else count(int(figure)) for figure in (budget["measured"], budget["limit"])
    )
    cost, limit = figures
    kept = ", ".join(f"{name} {kept} of {details['of'][name]}" for name, kept in details["choices"].items())
    met = "met" if budget["met"] else "not met"
    return [f"{budget['kind'].replace('_', ' ')}: {cost}{how}, limit {limit}: {met}", f"what stays: {kept}"]


def write_page(report: Mapping[str, Any], run: Path) -> Path:
    """Write report.html into a run; one self-contained page.

    Raises:
        InputError: If it cannot be written.
    """
    header, rows = figure_rows(report)
    layers = (report.get("details") or {}).get("layers") or []
    shown = [
        (row["name"], f"{row['zeros'] / row['weights']:.2%}", _error(row["error"]), row["note"] or "") for row in layers
    ]
    content = {k: v for k, v in report.items() if k in ("model", "method", "ratio", "calibration", "seed", "seconds")}
    page = render(
        "language.html",
        title=f"autoprune llm: {run.name}",
        figures=table(header, rows),
        lines=lines_of(report),
        samples=[(name, report[name]["sample"]) for name in _MODELS if (report.get(name) or {}).get("sample")],
        layers=table(("layer", "zeros", "error of its outputs", "note"), shown) if shown else None,
        conditions=table(("name", "value"), [(name, plain(value)) for name, value in flat(content)], words=2),
    )
    path = run / "report.html"
    write_text(path, page)
    return path


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
