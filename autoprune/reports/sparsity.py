"""What a sparsification came to: two tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoprune.foundations.numbers import count, milliseconds
from autoprune.reports.format import NONE, reasons_in_lines
from autoprune.run.report import Figures, Report

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["is_sparsity", "sparsity_layers", "sparsity_lines", "sparsity_table"]


def is_sparsity(content: Mapping[str, Any]) -> bool:
    """Whether a report is a sparsification's."""
    return "sparse" in content and "masked" in content


def sparsity_table(content: Mapping[str, Any]) -> Table:
    """A row for every network: score, zeros, parameters, bytes on disk, measured latency.

    Args:
        content: What `report.json` holds.
    """
    report = Report.of(content)
    table = _table(report.score_spec.name, "zeros", "parameters", "bytes", "latency, ms", first="network")
    networks = [("dense", report.dense), ("masked", report.pruned), ("sparse", report.finetuned)]
    networks += [(_masks_named(name), figures) for name, figures in report.baselines.items()]
    for name, figures in networks:
        extra = figures.model_extra or {}
        params, zeros, size = figures.params or 0, extra.get("zeros"), extra.get("bytes")
        share = NONE if zeros is None or not params else f"{count(zeros)} ({zeros / params:.0%})"
        latency = NONE if figures.latency_ms is None else milliseconds(figures.latency_ms)
        table.add_row(
            name, _score(report, figures), share, count(params), NONE if size is None else f"{size:,}", latency
        )
    return table


def sparsity_layers(content: Mapping[str, Any]) -> Table:
    """A row for every layer: what its mask takes, what the score loses by it alone, and what runs it."""
    report = Report.of(content)
    measured = any(row["latency_sparse_ms"] is not None for row in content["layers"])
    columns = ["shape", "pattern", "kept", "magnitude lost", "damage alone"]
    table = _table(*columns, *(("dense, ms", "sparse, ms") if measured else ()), "runs", first="weight")
    for row in content["layers"]:
        shape = "x".join(map(str, row["shape"]))
        damage = NONE if row["damage"] is None else report.score_spec.change(-row["damage"])
        removed = NONE if row["removed"] is None else f"{row['removed']:.1%}"
        kept = f"{row['density']:.0%}"
        latencies = [row["latency_dense_ms"], row["latency_sparse_ms"]] if measured else []
        times = [milliseconds(ms) for ms in latencies]
        table.add_row(row["name"], shape, row["pattern"] or NONE, kept, removed, damage, *times, row["chosen"])
    return table


def sparsity_lines(content: Mapping[str, Any]) -> list[str]:
    """The sentences under the tables: what was asked for, and why layers are dense or run as dense ones."""
    asked = content["sparsity"]
    update = "" if asked["weight_update"] == "none" else f", new weights by {asked['weight_update']}"
    lines = ["masked: before any training; other masks: not trained, BatchNorm re-estimated, if nothing else is said"]
    masks = f"masks of {asked['masks']}" if asked.get("masks") else f"criterion {asked['criterion']}"
    lines.append(f"pattern {asked['pattern']}, {masks}{update}, recipe {asked['recipe']}")
    order = asked.get("permutation")
    if order is not None:
        lines.append(
            f"units reordered: {order['pattern']} keeps {order['gain']:.2%} more of {order['criterion']}, the network"
            " computes the same"
        )
    lines += reasons_in_lines(content["layers"])
    return lines + [f"{name}: {note}" for name, note in asked["notes"].items()]


def _masks_named(baseline: str) -> str:
    """What a baseline is called.

    >>> _masks_named("random"), _masks_named("random_trained")
    ('random masks', 'random masks, trained')
    """
    name, trained, _ = baseline.partition("_trained")
    return f"{name} masks, trained" if trained else f"{name} masks"


def _score(report: Report, figures: Figures) -> str:
    value = figures.accuracy if report.score_spec.is_accuracy else figures.score
    return NONE if value is None else report.score_spec.text(value)


def _table(*columns: str, first: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    return table
