"""Scores of tickets and controls over the share of weights that they keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure
from autoprune.run.score import ScoreSpec

__all__ = ["lottery_figure"]

_COLOURS = ("#0f8a5f", "#c2410c", "#2f6fb3", "#7c3aed", "#b45309", "#0e7490", "#be185d")


def lottery_figure(
    rounds: Sequence[Mapping[str, Any]], arms: Sequence[str], spec: ScoreSpec, palette: Palette = LIGHT
) -> Figure:
    """Lines are means over seeds, shades a standard error to both sides; below, the step of least validation loss.

    Args:
        rounds: As `report.json` has them.
        arms: Which of them are drawn; the ticket first.
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (scores, steps) = new_figure(8.4, 5.6, palette, rows=2)
    for arm, colour in zip(arms, _COLOURS, strict=False):
        known = [(one["density"], one[arm]) for one in rounds if arm in one]
        densities = [100 * density for density, _ in known]
        means = [spec.scale * one[f"{spec.key}_mean"] for _, one in known]
        scores.plot(densities, means, color=colour, linewidth=1.6, marker="o", markersize=2.5, label=arm)
        errors = [spec.scale * _error(one, spec) for _, one in known]
        low, high = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
        scores.fill_between(densities, low, high, color=colour, alpha=0.15, linewidth=0)
        steps.plot(densities, [one["early_stop_step"] for _, one in known], color=colour, linewidth=1.2)
    dense = spec.scale * rounds[0]["ticket"][f"{spec.key}_mean"]
    scores.axhline(dense, color=palette.dense, linewidth=1, linestyle="--", label="dense")
    scores.set_ylabel(spec.axis, parse_math=False)
    steps.set_ylabel("early-stop step")
    steps.set_xscale("log")
    steps.set_xlabel("weights kept, %")
    steps.invert_xaxis()
    legend(scores, palette, loc="lower left")
    return figure


def _error(one: Mapping[str, Any], spec: ScoreSpec) -> float:
    """Standard error of a mean; 0 of one seed."""
    spread = one[f"{spec.key}_std"]
    count = len(one["accuracies" if spec.is_accuracy else "scores"])
    return 0.0 if spread is None else float(spread) / math.sqrt(count)
