"""The section of a run's page that shows the search, episode by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.reports.figures.search import episodes_figure, scatter_figure, search_front_figure
from autoprune.reports.format import NONE, cost, duration, share
from autoprune.reports.html.rendering import Picture, Table, picture, table
from autoprune.run.front import Front
from autoprune.run.report import Report, episode_score
from autoprune.space import Policy

__all__ = ["SearchSection", "search_of"]

_BEST_SHOWN = 5

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class SearchSection:
    """What the page shows of a search.

    Attributes:
        episodes: How many there were.
        warmup: How many of them were warm-up.
        repeated: How many of them repeated a policy that had been scored.
        time: How long they took.
        over_time: Score and cost, episode by episode.
        scatter: Score against cost.
        best: The episodes with the highest rewards, of those within the budget.
        front: The whole front of score and cost, where one was searched, and its points.
    """

    episodes: int
    warmup: int
    repeated: int
    time: str
    over_time: Picture
    scatter: Picture
    best: Table
    front: tuple[Picture, Table] | None


def search_of(
    episodes: Rows, report: Report, policy: Policy | None, front: Front | None = None, limit: float | None = None
) -> SearchSection | None:
    """The section, or None without episodes.

    Args:
        episodes: Rows of `episodes.jsonl`, each with its `cost`.
        report: The run's report.
        policy: The chosen policy, if it is there.
        front: The whole front, if one was searched.
        limit: What an episode of this run's budget might cost, where it is known: others' may have been searched, too.
    """
    if not episodes:
        return None
    chosen = _chosen(report, policy)
    return SearchSection(
        episodes=len(episodes),
        warmup=sum(bool(row.get("warmup")) for row in episodes),
        repeated=sum(bool(row.get("cached")) for row in episodes),
        time=duration(sum(row["seconds"] for row in episodes if row.get("seconds") is not None)),
        over_time=_over_time(episodes, report),
        scatter=_scatter(episodes, report, chosen),
        best=_best([row for row in episodes if _is_within(row, limit)], report, chosen),
        front=None if front is None else (_front_picture(front, episodes, report), _front_table(front, report)),
    )


def _is_within(row: Mapping[str, Any], limit: float | None) -> bool:
    """Whether an episode cost no more than a limit, as far as both are known."""
    return limit is None or row["cost"] is None or row["cost"] <= limit


def _titled(report: Report) -> str:
    name = report.score_spec.name
    return name[:1].upper() + name[1:]


def _chosen(report: Report, policy: Policy | None) -> Mapping[str, int] | None:
    """The chosen policy by decisions, as episodes name them: of tied layers `policy.json` names every group."""
    return report.chosen or (policy.choices if policy is not None else None)


def _over_time(episodes: Rows, report: Report) -> Picture:
    budget = report.searched
    return picture(
        lambda palette: episodes_figure(
            episodes, kind=budget.kind, limit=budget.limit, spec=report.score_spec, palette=palette
        ),
        f"{_titled(report)} on the search split before fine-tuning, and predicted cost, episode by episode;"
        " the limit is the search's own, on the same scale.",
    )


def _scatter(episodes: Rows, report: Report, chosen: Mapping[str, int] | None) -> Picture:
    budget = report.searched
    return picture(
        lambda palette: scatter_figure(
            episodes, kind=budget.kind, limit=budget.limit, chosen=chosen, spec=report.score_spec, palette=palette
        ),
        f"{_titled(report)} on the search split against predicted cost; the star is the policy that was chosen after "
        "fine-tuning the best few.",
    )


def _best(episodes: Rows, report: Report, chosen: Mapping[str, int] | None) -> Table:
    kind, spec = report.searched.kind, report.score_spec
    ranked = sorted((row for row in episodes if row.get("reward") is not None), key=lambda row: -row["reward"])
    rows = [
        (
            row.get("episode", NONE),
            spec.text(episode_score(row)),
            cost(row["cost"], kind),
            f"{row['reward']:.4g}",
            "yes" if row.get("choices") == chosen else "",
        )
        for row in ranked[:_BEST_SHOWN]
    ]
    return table(("episode", spec.name, "predicted cost", "reward", "chosen"), rows)


def _front_picture(front: Front, episodes: Rows, report: Report) -> Picture:
    spec = report.score_spec
    points = [(point.predicted_cost, point.score) for point in front.points]
    dense = (front.dense.predicted_cost, front.dense.score)
    return picture(
        lambda palette: search_front_figure(
            points, dense, episodes, kind=front.kind, limit=front.limit, spec=spec, palette=palette
        ),
        f"The front of the search: no other policy beats these in {spec.name} and predicted cost. "
        f"{_titled(report)} is on the search split before fine-tuning.",
    )


def _front_table(front: Front, report: Report) -> Table:
    spec, dense = report.score_spec, front.dense.predicted_cost
    rows = [
        (
            point.policy or NONE,
            (cost(point.predicted_cost, front.kind), share(point.predicted_cost, dense)),
            spec.text(point.score),
        )
        for point in front.points
    ]
    return table(("policy", "predicted cost", spec.name), rows)
