"""Pictures of a progressive run: the way to the budget, and the signals of the machine on that way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure
from autoprune.reports.format import cost_name, how_by_default
from autoprune.reports.steps import signals_of
from autoprune.run.records import StepRecord
from autoprune.run.score import ACCURACY, ScoreSpec

__all__ = ["how_known", "signals_figure", "trajectory_figure"]

_UNIT_ENDINGS = ("c", "gbs", "j", "mhz", "mj", "s", "w")  # of signals' names; the title names the unit

Steps = Sequence[StepRecord]


def how_known(steps: Steps, kind: str) -> str:
    """How the costs of the steps' networks are known: `measured` on the target, `counted`, or `modelled`."""
    before = how_by_default(kind)  # of steps that do not say
    return " or ".join(dict.fromkeys(step.how or before for step in steps))


def trajectory_figure(steps: Steps, kind: str, spec: ScoreSpec = ACCURACY, palette: Palette = LIGHT) -> Figure:
    """Cost, predicted and found, and score, step by step; steps that waited for the device are marked.

    Args:
        steps: The steps.
        kind: What the budget limits.
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (above, below) = new_figure(8.4, 4.8, palette, rows=2)
    limits = [step.limit for step in steps]
    above.plot([step.step for step in steps], limits, "--", color=palette.limit, linewidth=1.2, label="limit")
    goals = [(step.step, step.goal * step.limit) for step in steps if step.goal is not None]
    _line(above, goals, "_", palette.ink, "goal of the step", linestyle="none", markersize=9)
    _line(
        above,
        [(step.step, step.predicted) for step in steps],
        "x",
        palette.ink,
        "predicted",
        linestyle="none",
        zorder=4,
    )
    _line(above, [(step.step, step.measured) for step in steps], "o", palette.kept, how_known(steps, kind))
    waited = [(step.step, step.measured) for step in steps if step.throttled is not None]
    _line(above, waited, "D", palette.limit, "device throttled", linestyle="none", markersize=7, fillstyle="none")
    above.set_ylabel(cost_name(kind))
    above.set_ylim(bottom=0)
    _line(below, [(step.step, _scaled(step.values[0], spec)) for step in steps], "x", palette.dense, "cut")
    tuned = [(step.step, _scaled(step.values[1], spec)) for step in steps]
    _line(below, tuned, "o", palette.chosen, "briefly fine-tuned")
    below.set_ylabel(spec.axis, parse_math=False)
    below.set_xlabel("step (0: the dense network)")
    _whole_numbers(below)
    figure.align_ylabels()
    for axes in (above, below):
        legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1), ncols=5)
    return figure


def signals_figure(steps: Steps, names: Sequence[str], palette: Palette = LIGHT) -> Figure:
    """A panel for each signal, step by step; what is modelled says so.

    Args:
        steps: The steps.
        names: Signals that at least one step has a value of.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure, panels = new_figure(8.4, 0.5 + 1.5 * lines, palette, rows=lines, columns=columns)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        known = [(step.step, found[name]) for step in steps if name in (found := signals_of(step))]
        known = [(step, reading) for step, reading in known if reading["value"] is not None]
        _line(axes, [(step, reading["value"]) for step, reading in known], "o", palette.kept, "")
        axes.set_title(_title(name, known[-1][1]), size=8.5, color=palette.ink, parse_math=False)
        axes.margins(y=0.25)
        if all(reading["value"] >= 0 for _, reading in known):
            axes.set_ylim(bottom=0)
        _whole_numbers(axes)
    return figure


def _title(name: str, reading: Mapping[str, Any]) -> str:
    """A signal's name in words, its unit, and whether it is modelled."""
    words = name.split("_")
    words = words[:-1] if words[-1] in _UNIT_ENDINGS else words
    kind = " (modelled)" if str(reading["source"]).startswith("modelled") else ""
    return ", ".join(filter(None, [" ".join(words), str(reading["unit"])])) + kind


def _line(
    axes: Any,
    points: Sequence[tuple[float, float | None]],
    marker: str,
    color: str,
    label: str,
    linestyle: str = "-",
    **style: Any,
) -> None:
    """Points of what is known, in order, joined by a line by default."""
    known = [(x, y) for x, y in points if y is not None]
    if known:
        x, y = zip(*known, strict=True)
        style = {"markersize": 4, **style}
        axes.plot(x, y, marker, color=color, linestyle=linestyle, linewidth=1.2, label=label or None, **style)


def _scaled(value: float | None, spec: ScoreSpec) -> float | None:
    return None if value is None else spec.scale * value


def _whole_numbers(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
