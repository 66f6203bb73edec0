"""The picture of `autoprune bench`: latency on every target, and what is left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure
from autoprune.reports.format import milliseconds

__all__ = ["bench_figure", "networks_of", "smaller_of"]

_BESIDE = ("pruned", "dynamic")

_HALF = 0.36  # of a bar's place


def bench_figure(content: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Latencies as bars, a pair a target; beside them the share that is left, with its range.

    Args:
        content: What `bench.json` holds.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    rows = [(name, row) for name, row in content["targets"].items() if "dense" in row]
    compared = smaller_of(content["networks"])
    height = min(1.2 + 0.55 * len(rows), 40)
    figure, axes = new_figure(8.4, height, palette, columns=2 if compared else 1)
    _latencies(axes[0], rows, compared, palette)
    if compared:
        _shares(axes[1], rows, compared, _macs_left(content["networks"], compared), palette)
        axes[1].tick_params(labelleft=False)
    return figure


def _latencies(
    axes: Any, rows: Sequence[tuple[str, Mapping[str, Any]]], compared: str | None, palette: Palette
) -> None:
    places = np.arange(len(rows))
    drawn = [("dense", palette.dense, -_HALF / 2), *([(compared, palette.kept, _HALF / 2)] if compared else [])]
    for network, color, shift in drawn:
        values = [row[network]["latency_ms"] for _, row in rows]
        axes.barh(places + shift, values, height=_HALF, color=color, label=network)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                milliseconds(value), (value, place + shift), xytext=(3, 0), textcoords="offset points", va="center",
                size=7.5, color=palette.ink,
            )  # fmt: skip
    _targets(axes, rows)
    axes.set_xlim(0, 1.16 * max(figures["latency_ms"] for _, row in rows for figures in networks_of(row)))
    axes.set_xlabel("latency in ms")
    legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def _shares(
    axes: Any, rows: Sequence[tuple[str, Mapping[str, Any]]], compared: str, macs: float | None, palette: Palette
) -> None:
    for place, (_, row) in enumerate(rows):
        ratio = row["ratio"]
        axes.plot([100 * ratio["least"], 100 * ratio["most"]], [place, place], color=palette.kept, linewidth=2)
        axes.plot([100 * ratio["median"]], [place], "o", color=palette.kept, markersize=6)
        axes.annotate(
            f"{100 * ratio['median']:.1f} %", (100 * ratio["median"], place), xytext=(0, 7),
            textcoords="offset points", ha="center", size=7.5, color=palette.ink,
        )  # fmt: skip
    if macs is not None:
        axes.axvline(100 * macs, color=palette.limit, linewidth=1.2, linestyle="--", label="multiply-accumulates")
    _targets(axes, rows)
    axes.set_xlim(0, max(105.0, *(108 * row["ratio"]["most"] for _, row in rows)))
    axes.set_xlabel(f"{compared}, % of dense")
    legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1))


def networks_of(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A target's figures of the dense network, and of the one beside it where there is one."""
    return [row[name] for name in ("dense", *_BESIDE) if name in row]


def smaller_of(networks: Mapping[str, Any]) -> str | None:
    """What the network beside the dense one is called; None where there is none."""
    return next((name for name in _BESIDE if name in networks), None)


def _targets(axes: Any, rows: Sequence[tuple[str, Any]]) -> None:
    axes.set_yticks(np.arange(len(rows)), [name for name, _ in rows])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name is no formula, whatever it holds
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _macs_left(networks: Mapping[str, Mapping[str, Any]], compared: str) -> float | None:
    dense, small = networks["dense"]["flops"], networks[compared]["flops"]
    return None if not dense or small is None else small / dense
