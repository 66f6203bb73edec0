"""Pictures of a dynamic network: accuracy over mean time, exits by class, confidence against accuracy, images."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure

__all__ = ["classes_figure", "curves_figure", "extremes_figure", "reliability_figure"]

# By marker and line as well as by colour, so that a page without colour can be read.
_STYLES = {"solved": ("-", "o"), "uniform": ("--", "s"), "random": (":", "^"), "one threshold": ("-", "o")}


def curves_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Accuracy on the test split over mean time: three ways to say who leaves, the chosen point, static networks.

    Args:
        report: What `report.json` holds.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (axes,) = new_figure(8.4, 3.8, palette)
    colours = {
        "solved": palette.chosen,
        "uniform": palette.kept,
        "random": palette.limit,
        "one threshold": palette.chosen,
    }
    for name, points in report["curves"].items():
        line, marker = _STYLES[name]
        drawn = sorted((each["mean_ms"], 100 * each["accuracy"]) for each in points)
        axes.plot(*zip(*drawn, strict=True), line + marker, color=colours[name], markersize=3.5, label=name)
    dense = report["dense"]
    axes.plot([dense["latency_ms"]], [100 * dense["accuracy"]], "D", color=palette.ink, markersize=6, label="dense")
    static = report.get("static") or {}
    beside = (("static", "P", static, "latency_share"), ("cascade", "X", static.get("cascade") or {}, "mean_share"))
    for label, marker, one, share in beside:
        if "accuracy" in one:
            where = one[share] * dense["latency_ms"], 100 * one["accuracy"]
            axes.plot(*([value] for value in where), marker, color=palette.dense, markersize=7, label=label)
    chosen = report["predicted_mean_latency_ms"], 100 * report["accuracy"]
    axes.plot(*([value] for value in chosen), "*", color=palette.ink, markersize=11, label="this network")
    axes.set_xlabel("mean time of a call in ms: measured paths, shares of the test split")
    axes.set_ylabel("accuracy in %")
    legend(axes, palette, loc="lower right", ncols=2)
    return figure


def classes_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """For every class the shares of its inputs on each path, written into a map of shades.

    Args:
        report: What `report.json` holds.
        palette: The colours.
    """
    rows, names = report["exits_by_class"], [each["place"] for each in report["exits"]]
    figure, (axes,) = new_figure(8.4, min(1.2 + 0.28 * len(rows), 40), palette)
    shares = np.array([row["shares"] for row in rows])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(shares):
        shade = LIGHT.paper if value > 0.55 else LIGHT.ink
        axes.annotate(f"{100 * value:.0f} %", (column, row), ha="center", va="center", size=7.5, color=shade)
    axes.set_yticks(np.arange(len(rows)), [f"class {row['class']}" for row in rows])
    axes.set_xticks(np.arange(len(names)), names)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.grid(visible=False)
    return figure


def reliability_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """A panel an exit: accuracy over the largest probability, in bins; the diagonal is where they agree.

    Args:
        report: What `report.json` holds.
        palette: The colours.
    """
    panels = report["reliability"]
    figure, all_axes = new_figure(8.4, 3.0, palette, columns=len(panels))
    for axes, bins, each in zip(all_axes, panels, report["exits"], strict=False):
        axes.plot([0, 100], [0, 100], color=palette.dense, linewidth=1)
        drawn = [(100 * one["confidence"], 100 * one["accuracy"]) for one in bins]
        axes.plot(*zip(*drawn, strict=True), "o-", color=palette.kept, markersize=3.5)
        axes.set_title(each["place"], size=8.5, color=palette.ink, parse_math=False)
        axes.set_xlabel("largest probability in %")
    all_axes[0].set_ylabel("accuracy in %")
    return figure


def extremes_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """The easiest images in a row, and the hardest below, with where each leaves and what it is taken for.

    Args:
        report: What `report.json` holds.
        palette: The colours.
    """
    rows = [[each for each in report["extremes"] if each["which"] == which] for which in ("easiest", "hardest")]
    columns = max(map(len, rows))
    figure, axes = new_figure(8.4, 4.0, palette, rows=2, columns=columns)
    for place, one in enumerate(axes):
        row, column = divmod(place, columns)
        one.axis("off")
        if column >= len(rows[row]):
            continue
        each = rows[row][column]
        pixels = np.frombuffer(base64.b64decode(each["pixels"]), np.uint8).reshape(each["shape"])
        one.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        taken = f"class {each['class']}" if each["answer"] == each["class"] else f"{each['class']} as {each['answer']}"
        title = f"{each['place']}\n{taken}, {100 * each['probability']:.0f} %"
        one.set_title(title, size=7.5, color=palette.ink, parse_math=False)
    return figure
