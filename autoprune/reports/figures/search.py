"""What the pictures show: policies, searches, fronts.

matplotlib is an optional extra; every function here raises `MissingExtraError` without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure
from autoprune.reports.format import cost_name, has_prefixes
from autoprune.run.report import episode_score
from autoprune.run.score import ACCURACY, ScoreSpec

__all__ = [
    "episodes_figure",
    "front",
    "front_figure",
    "policy_figure",
    "scatter_figure",
    "search_front_figure",
    "thinned",
]

_MOST_POINTS = 2000  # of one picture; a page of a long search stays small
_MOST_SHAPES = 400  # of points that an SVG holds one by one; more of them are pixels


def policy_figure(rows: Sequence[tuple[str, int | None, int]], palette: Palette = LIGHT) -> Figure:
    """A policy as bars: the dense width behind, what is kept in front.

    Args:
        rows: Decision, dense units (None if unknown) and kept units, in forward order.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    height = min(0.9 + 0.24 * max(len(rows), 1), 60)
    figure, (axes,) = new_figure(8.4, height, palette)
    places = np.arange(len(rows))
    widest = max([max(dense or 0, kept) for _, dense, kept in rows], default=1)
    axes.barh(places, [dense or 0 for _, dense, _ in rows], height=0.72, color=palette.dense, label="dense")
    axes.barh(places, [kept for _, _, kept in rows], height=0.72, color=palette.kept, label="kept")
    for place, (_, dense, kept) in zip(places, rows, strict=True):
        text = f"{kept} of {dense}" if dense is not None else str(kept)
        axes.text(
            max(dense or 0, kept) + 0.01 * widest, place, text, va="center", size=7.5, color=palette.ink,
            parse_math=False,
        )  # fmt: skip
    axes.set_yticks(places, [name for name, _, _ in rows])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name is no formula, whatever it holds
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.14 * widest)
    axes.set_xlabel("units")
    axes.grid(visible=False, axis="y")
    legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def episodes_figure(
    episodes: Sequence[Mapping[str, Any]],
    *,
    kind: str,
    limit: float | None,
    spec: ScoreSpec = ACCURACY,
    palette: Palette = LIGHT,
) -> Figure:
    """Score and cost over the episodes of a search, with the best score so far and the limit.

    Args:
        episodes: Rows of `episodes.jsonl`.
        kind: What the budget limits.
        limit: The budget's limit, None if unknown.
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (above, below) = new_figure(8.4, 4.6, palette, rows=2)
    scored = [row for row in episodes if episode_score(row) is not None]
    _points(above, thinned(scored), "episode", "score", palette, spec)
    if scored:
        merits = np.maximum.accumulate([spec.merit(_score(row)) for row in scored])
        best = [spec.scale * spec.merit(merit) for merit in merits]
        at = [row["episode"] for row in scored]
        above.step(at, best, where="post", color=palette.chosen, linewidth=1.5, label="best so far")
    above.set_ylabel(spec.axis, parse_math=False)
    _points(below, thinned([row for row in episodes if row.get("cost") is not None]), "episode", "cost", palette, spec)
    if limit is not None:
        below.axhline(limit, color=palette.limit, linewidth=1.2, linestyle="--", label="limit (predicted)")
    below.set_ylabel(f"predicted {_axis(kind)}")
    below.set_xlabel("episode")
    _plain_numbers(below.yaxis, kind)
    figure.align_ylabels()
    for axes in (above, below):
        legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
    return figure


def scatter_figure(
    episodes: Sequence[Mapping[str, Any]],
    *,
    kind: str,
    limit: float | None,
    chosen: Mapping[str, int] | None = None,
    spec: ScoreSpec = ACCURACY,
    palette: Palette = LIGHT,
) -> Figure:
    """Score against predicted cost, an episode a point, the chosen policy marked.

    Args:
        episodes: Rows of `episodes.jsonl`.
        kind: What the budget limits.
        limit: The budget's limit, None if unknown.
        chosen: The chosen policy's choices; marked if an episode made them.
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (axes,) = new_figure(8.4, 3.8, palette)
    known = [row for row in episodes if episode_score(row) is not None and row.get("cost") is not None]
    _points(axes, thinned(known), "cost", "score", palette, spec)
    if limit is not None:
        axes.axvline(limit, color=palette.limit, linewidth=1.2, linestyle="--", label="limit (predicted)")
    marked = next((row for row in known if chosen and row.get("choices") == dict(chosen)), None)
    if marked is not None:
        axes.plot(
            marked["cost"], spec.scale * _score(marked), "*", color=palette.chosen, markersize=15, label="chosen",
            markeredgecolor=palette.ink, markeredgewidth=0.6, linestyle="none",
        )  # fmt: skip
    axes.set_xlabel(f"predicted {_axis(kind)}")
    axes.set_ylabel(spec.axis, parse_math=False)
    _plain_numbers(axes.xaxis, kind)
    legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
    return figure


def front_figure(
    names: Sequence[str],
    panels: Mapping[str, Sequence[Mapping[str, tuple[float, float]]]],
    spec: ScoreSpec = ACCURACY,
    palette: Palette = LIGHT,
) -> Figure:
    """Score against cost of several runs' networks, with the front of the fine-tuned ones.

    Args:
        names: The runs.
        panels: For each cost, by its label, one mapping a run: network -> (cost, score).
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, axes_list = new_figure(5.2 * len(panels), 4.2, palette, columns=len(panels))
    for axes, (label, groups) in zip(axes_list, panels.items(), strict=True):
        small = [
            (name, *group["fine-tuned"]) for name, group in zip(names, groups, strict=True) if "fine-tuned" in group
        ]
        baselines = [at for group in groups for name, at in group.items() if name not in ("dense", "fine-tuned")]
        dense = [group["dense"] for group in groups if "dense" in group]
        _marks(axes, dense, "s", palette.dense, "dense", spec)
        _marks(axes, baselines, "x", palette.limit, "baseline", spec)
        best = [(x, spec.merit(y)) for x, y in front([(x, spec.merit(y)) for _, x, y in small])]
        if len(best) > 1:
            at = zip(*[(x, spec.scale * y) for x, y in best], strict=True)
            axes.step(*at, where="post", color=palette.kept, alpha=0.5)
        _marks(axes, [(x, y) for _, x, y in small], "o", palette.kept, "fine-tuned", spec)
        for name, x, y in small:
            axes.annotate(
                name, (x, spec.scale * y), xytext=(5, 5), textcoords="offset points", size=7.5, color=palette.ink,
                parse_math=False,
            )  # fmt: skip
        axes.set_xlabel(label)
        axes.set_ylabel(spec.axis, parse_math=False)
        axes.margins(0.12)
        _plain_numbers(axes.xaxis, "latency" if "ms" in label else "flops")
        legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return figure


def search_front_figure(
    points: Sequence[tuple[float, float]],
    dense: tuple[float, float],
    episodes: Sequence[Mapping[str, Any]],
    *,
    kind: str,
    limit: float,
    spec: ScoreSpec = ACCURACY,
    palette: Palette = LIGHT,
) -> Figure:
    """The front of a search, with all of its episodes and the dense network.

    Args:
        points: (cost, score) of the front's policies, by rising cost.
        dense: (cost, score) of the dense network.
        episodes: Rows of `episodes.jsonl`.
        kind: What the budget limits.
        limit: The budget, where the front begins.
        spec: What networks are judged by.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (axes,) = new_figure(8.4, 3.8, palette)
    known = [row for row in episodes if episode_score(row) is not None and row.get("cost") is not None]
    _points(axes, thinned(known), "cost", "score", palette, spec)
    costs, scores = zip(*points, strict=True)
    at = [spec.scale * score for score in scores]
    axes.step(costs, at, "o", where="post", linestyle="-", color=palette.chosen, markersize=5, label="front")
    _marks(axes, [dense], "s", palette.dense, "dense", spec)
    axes.axvline(limit, color=palette.limit, linewidth=1.2, linestyle="--", label="budget")
    axes.set_xlabel(f"predicted {_axis(kind)}")
    axes.set_ylabel(spec.axis, parse_math=False)
    _plain_numbers(axes.xaxis, kind)
    legend(axes, palette, loc="lower right", bbox_to_anchor=(1, 1), ncols=5)
    return figure


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, merit) points that no other beats in both, by rising cost."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    return best


def thinned(rows: Sequence[Mapping[str, Any]], most: int = _MOST_POINTS) -> list[Mapping[str, Any]]:
    """At most `most` rows, evenly spread, first and last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[int(i)] for i in np.linspace(0, len(rows) - 1, most).round()]


def _points(axes: Any, rows: Sequence[Mapping[str, Any]], x: str, y: str, palette: Palette, spec: ScoreSpec) -> None:
    """Episodes as points: warm-up apart from the rest; accuracies in percent."""
    groups = (
        ("warm-up", [row for row in rows if row.get("warmup")], palette.dense),
        ("episodes", [row for row in rows if not row.get("warmup")], palette.kept),
    )
    for label, group, color in groups:
        if group:
            at = [[spec.scale * _score(row) if key == "score" else row[key] for row in group] for key in (x, y)]
            drawn = axes.plot(*at, "o", color=color, markersize=3.2, linestyle="none", label=label)
            drawn[0].set_rasterized(len(group) > _MOST_SHAPES)


def _score(row: Mapping[str, Any]) -> float:
    """The score of an episode that has one."""
    score = episode_score(row)
    assert score is not None
    return score


def _marks(axes: Any, at: Sequence[tuple[float, float]], marker: str, color: str, label: str, spec: ScoreSpec) -> None:
    if at:
        x, y = zip(*at, strict=True)
        axes.plot(x, [spec.scale * v for v in y], marker, color=color, markersize=6, linestyle="none", label=label)


def _axis(kind: str) -> str:
    return cost_name(kind)


def _plain_numbers(axis: Any, kind: str) -> None:
    """Operations and parameters with k, M, G; milliseconds and millijoules as they are."""
    from matplotlib.ticker import EngFormatter, ScalarFormatter

    axis.set_major_formatter(EngFormatter() if has_prefixes(kind) else ScalarFormatter(useOffset=False))
