"""The picture of a sensitivity analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure
from autoprune.run.score import ScoreSpec

__all__ = ["sensitivity_figure"]

_LINES = 24  # decisions that a legend names; of more, the colours say whether they come first or last


def sensitivity_figure(content: Mapping[str, Any], spec: ScoreSpec, palette: Palette = LIGHT) -> Figure:
    """Score against the share of units kept, a line a decision; beside it what one unit less saves.

    Args:
        content: What `sensitivity.json` holds.
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    rows = content["decisions"]
    height = min(max(3.6, 0.9 + 0.24 * len(rows)), 60)
    figure, (lines, bars) = new_figure(11, height, palette, columns=2)
    colours = _colours(len(rows))
    for row, colour in zip(rows, colours, strict=True):
        points = [(point["kept"] / row["width"], point["score"]) for point in row["points"]]
        shares, scores = zip(*points, (1.0, content["dense"]), strict=True)
        label = row["name"] if len(rows) <= _LINES else None
        values = [spec.scale * score for score in scores]
        lines.plot(shares, values, "o-", color=colour, markersize=3, linewidth=1.1, label=label)
    lines.axhline(spec.scale * content["dense"], color=palette.limit, linewidth=1.0, linestyle="--")
    lines.set_xlabel("share of the decision's units that is kept, all others whole")
    lines.set_ylabel(spec.axis, parse_math=False)
    lines.set_xlim(0, 1.02)
    legend(lines, palette, loc="lower right")
    _bars(bars, rows, colours, content["cost"]["unit"])
    return figure


def _bars(axes: Any, rows: Sequence[Mapping[str, Any]], colours: Sequence[Any], unit: str) -> None:
    """What one unit less saves, a bar a decision, in forward order from the top."""
    places = np.arange(len(rows))
    axes.barh(places, [row["step"]["saved_per_unit"] for row in rows], height=0.72, color=list(colours))
    axes.set_yticks(places, [row["name"] for row in rows])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name is no formula, whatever it holds
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"saved by one unit less, {unit}")
    axes.grid(visible=False, axis="y")


def _colours(count: int) -> list[Any]:
    """From the first decision's to the last's, readable on light and dark."""
    from matplotlib import colormaps

    return [tuple(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.85, max(count, 1)))][:count]
