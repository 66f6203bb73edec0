"""Tickets and controls over the share of weights that they keep: scores, early stops, hardware; barriers over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure
from autoprune.run.score import ScoreSpec

__all__ = ["barrier_figure", "hardware_figure", "lottery_figure"]

_COLOURS = ("#0f8a5f", "#c2410c", "#2f6fb3", "#7c3aed", "#b45309", "#0e7490", "#be185d")
_NAMED = 8  # groups that a legend has room for


def lottery_figure(
    rounds: Sequence[Mapping[str, Any]], arms: Sequence[str], spec: ScoreSpec, palette: Palette = LIGHT
) -> Figure:
    """Lines are means over seeds, shades a standard error to both sides; below, the step of least validation loss.

    Reports of earlier versions have that step's mean alone.

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
        errors = [spec.scale * _error(one[f"{spec.key}_std"], _seeds(one, spec)) for _, one in known]
        _band(scores, densities, means, errors, color=colour, linewidth=1.6, marker="o", markersize=2.5, label=arm)
        early = [one["early_stop_step"] for _, one in known]
        spread = [_error(one.get("early_stop_step_std"), _seeds(one, spec)) for _, one in known]
        _band(steps, densities, early, spread, color=colour, linewidth=1.2)
    dense = spec.scale * rounds[0]["ticket"][f"{spec.key}_mean"]
    scores.axhline(dense, color=palette.dense, linewidth=1, linestyle="--", label="dense")
    scores.set_ylabel(spec.axis, parse_math=False)
    steps.set_ylabel("early-stop step")
    _over_density(steps)
    legend(scores, palette, loc="lower left")
    return figure


def hardware_figure(densities: Sequence[Mapping[str, Any]], palette: Palette = LIGHT) -> Figure:
    """Units alive of every group of the first seed's tickets; below, where they were timed, milliseconds on the target.

    Args:
        densities: As `report.json` has them under `lottery`.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    timed = [one for one in densities if len(one.get("latency_ms", ())) > 1]
    figure, (units, *others) = new_figure(8.4, 5.2 if timed else 2.9, palette, rows=2 if timed else 1)
    shares = [100 * one["density"] for one in densities]
    groups = list(densities[0]["units_alive"])
    for number, group in enumerate(groups):
        alive = [100 * one["units_alive"][group][0] / one["units_alive"][group][1] for one in densities]
        colour = _COLOURS[number % len(_COLOURS)]
        units.plot(shares, alive, color=colour, linewidth=1.3, label=group if len(groups) <= _NAMED else None)
    units.set_ylabel("units alive, %")
    _over_density((units, *others)[-1])
    legend(units, palette, loc="lower left")
    for times in others:
        _draw_times(times, timed, palette)
    return figure


def _draw_times(axes: Any, timed: Sequence[Mapping[str, Any]], palette: Palette) -> None:
    names = [name for name in timed[0]["latency_ms"] if name != "dense"]
    for name, colour in zip(names, _COLOURS, strict=False):
        axes.plot(
            [100 * one["density"] for one in timed],
            [one["latency_ms"][name] for one in timed],
            color=colour,
            linewidth=1.3,
            marker="o",
            markersize=2.5,
            label=name,
        )
    axes.axhline(timed[0]["latency_ms"]["dense"], color=palette.dense, linewidth=1, linestyle="--", label="dense")
    axes.set_ylabel("ms on the target")
    axes.set_ylim(bottom=0)
    legend(axes, palette, loc="lower left")


def barrier_figure(stability: Sequence[Mapping[str, Any]], spec: ScoreSpec, palette: Palette = LIGHT) -> Figure:
    """The barrier between two trainings over the step that they start from: the mean, and a dot for every seed.

    Args:
        stability: As `report.json` has it under `lottery`.
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (axes,) = new_figure(8.4, 2.9, palette)
    steps = [one["step"] for one in stability]
    axes.plot(steps, [spec.scale * one["barrier_mean"] for one in stability], color=_COLOURS[0], linewidth=1.6)
    dots = [(one["step"], spec.scale * barrier) for one in stability for barrier in one["barriers"]]
    axes.plot(*zip(*dots, strict=True), color=_COLOURS[0], linestyle="", marker="o", markersize=3.5)
    axes.set_xscale("symlog", linthresh=max(1, min((step for step in steps if step), default=1)))
    axes.set_xlabel("step from which two trainings start")
    axes.set_ylabel("barrier, points" if spec.is_accuracy else "barrier")
    return figure


def _over_density(axes: Any) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("weights kept, %")
    axes.invert_xaxis()


def _band(axes: Any, x: Sequence[float], means: Sequence[float], errors: Sequence[float], **line: Any) -> None:
    """A line with a standard error to both sides."""
    axes.plot(x, means, **line)
    low, high = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=line["color"], alpha=0.15, linewidth=0)


def _seeds(one: Mapping[str, Any], spec: ScoreSpec) -> int:
    return len(one["accuracies" if spec.is_accuracy else "scores"])


def _error(spread: float | None, count: int) -> float:
    """Standard error of a mean; 0 of one seed."""
    return 0.0 if spread is None else float(spread) / math.sqrt(count)
