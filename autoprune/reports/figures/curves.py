"""Best score so far against evaluations, of several agents beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure
from autoprune.run.score import ScoreSpec

__all__ = ["Curve", "curves_figure"]

_COLOURS = ("#2f6fb3", "#c2410c", "#0f8a5f", "#7c3aed", "#b45309", "#0e7490", "#be185d", "#4b5563")


@dataclass(frozen=True)
class Curve:
    """The searches of one agent.

    Attributes:
        name: Of the agent.
        spec: What they are judged by.
        rows: Best merit so far after each evaluation, a row a seed; rows may differ in length.
    """

    name: str
    spec: ScoreSpec
    rows: Sequence[Sequence[float]]

    def over_seeds(self) -> NDArray[np.float64]:
        """Scores of shape (seeds, evaluations); a search that ended keeps its best."""
        longest = max(map(len, self.rows))
        merits = np.array([[*row, *[row[-1]] * (longest - len(row))] for row in self.rows])
        return np.asarray(self.spec.scale * np.vectorize(self.spec.merit)(merits), dtype=np.float64)


def curves_figure(panels: Mapping[str, Sequence[Curve]], palette: Palette = LIGHT) -> Figure:
    """A panel for every budget, one above the other; lines are means over seeds, shades their range.

    Args:
        panels: Budget -> its curves, at least one.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, axes = new_figure(8.4, 0.4 + 3.2 * len(panels), palette, rows=len(panels))
    names = sorted({curve.name for curves in panels.values() for curve in curves})
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    for one, (budget, curves) in zip(axes, panels.items(), strict=True):
        for curve in curves:
            _draw(one, curve, colours[curve.name])
        one.set_ylabel(f"best {curves[0].spec.axis}", parse_math=False)
        one.set_title(budget, fontsize=8.5, color=palette.ink, loc="left", parse_math=False)
        legend(one, palette, loc="lower right")
    axes[-1].set_xlabel("evaluations")
    return figure


def _draw(axes: Any, curve: Curve, colour: str) -> None:
    scores = curve.over_seeds()
    at = np.arange(1, scores.shape[1] + 1)
    axes.plot(at, scores.mean(axis=0), color=colour, linewidth=1.5, label=f"{curve.name} ({len(scores)})")
    if len(scores) > 1:
        axes.fill_between(at, scores.min(axis=0), scores.max(axis=0), color=colour, alpha=0.15, linewidth=0)
