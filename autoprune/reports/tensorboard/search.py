"""A search in TensorBoard. Every scalar written here is defined in docs/tensorboard.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autoprune.errors import MissingExtraError
from autoprune.reports.format import cost, plain, share
from autoprune.reports.tensorboard.log import EventLog
from autoprune.run.report import episode_cost, episode_score
from autoprune.run.score import ACCURACY, ScoreSpec
from autoprune.space import SearchSpace

__all__ = ["SearchWriter"]


@dataclass(frozen=True)
class _Best:
    reward: float
    score: float | None
    cost: float | None


class SearchWriter:
    """Writes the episodes of one search as TensorBoard scalars; the step is the episode's number.

    Unknown figures leave gaps: a missing accuracy writes no point.

    Args:
        folder: The event files' folder; made if it is missing.
        space: The decisions, for the shares kept.
        kind: What the budget limits: `latency`, `flops` or `params`.
        unit: The unit of all costs: `ms`, `MACs`, `parameters`.
        limit: The budget's limit, in `unit`.
        dense_cost: Cost of the dense network, in `unit`.
        first_episode: The first episode that will be written; what an interrupted run wrote from there on is
            discarded by TensorBoard.
        earlier: The rows of the episodes before `first_episode`, so that the best so far goes on.
        scored_as: What networks are judged by; its tags end in `accuracy`, or in `score` for any other.

    Raises:
        InputError: If the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        *,
        kind: str,
        unit: str,
        limit: float,
        dense_cost: float,
        first_episode: int = 0,
        earlier: Iterable[Mapping[str, Any]] = (),
        scored_as: ScoreSpec = ACCURACY,
    ) -> None:
        self._space, self._kind, self._limit, self._dense_cost = space, kind, limit, dense_cost
        self._spec = scored_as
        self._step = first_episode
        self._scored = [found for row in earlier if (found := _scored(row)) is not None]
        self._best = self._best_within(limit)
        self._log = EventLog(folder, first_episode)
        if first_episode == 0:
            self._log.layout(_layout(scored_as))
            self._log.text("search/about", self._about(unit))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.__exit__(kind, error, trace)

    def episode(self, row: Mapping[str, Any], scalars: Mapping[str, float | None] | None = None) -> None:
        """Write one finished episode.

        Args:
            row: The episode as in `episodes.jsonl`: `episode`, `choices`, `accuracy` or `score`, `predicted_cost` (or
                `cost`), `reward`, `seconds`, `images`, and the flags `cached` and `warmup`; what is missing or None is
                not written.
            scalars: The agent's own figures, such as `noise_sigma` or `critic_loss`.
        """
        self._step = int(row["episode"])
        self._note(row)
        total = episode_cost(row)
        self._add("search/reward", row.get("reward"))
        self._add(f"search/{self._spec.key}", episode_score(row))
        self._add("search/cost", total)
        self._add("search/cost_share", None if total is None or not self._dense_cost else total / self._dense_cost)
        self._add("search/limit", self._limit)
        self._add("search/seconds", row.get("seconds"))
        self._add("search/cached", row.get("cached"))
        self._add("search/images", row.get("images"))
        self._add("search/warmup", row.get("warmup"))
        if self._best is not None:
            self._add("best/reward", self._best.reward)
            self._add(f"best/{self._spec.key}", self._best.score)
            self._add("best/cost", self._best.cost)
        choices = row.get("choices") or {}
        for decision in self._space.decisions:
            self._add(f"keep/{decision.name}", choices.get(decision.name, decision.width) / decision.width)
        for name, value in (scalars or {}).items():
            self._add(f"agent/{name}", value)

    def policy_picture(self, choices: Mapping[str, int]) -> None:
        """Write a policy as a picture of bars; as a table where matplotlib is not installed.

        Args:
            choices: Kept units by decision; decisions that are not named are dense.

        Raises:
            InputError: If the choices do not fit the search space.
        """
        from autoprune.reports.figures import _matplotlib as _canvas
        from autoprune.reports.figures import search as pictures

        full = self._space.complete(choices)
        rows = [(d.name, d.width, full[d.name]) for d in self._space.decisions]
        try:
            image = _canvas.pixels(pictures.policy_figure(rows))
        except MissingExtraError as error:
            table = "".join(f"| {name} | {dense} | {kept} | {share(kept, dense)} |\n" for name, dense, kept in rows)
            head = "| decision | dense | kept | share |\n|---|---|---|---|\n"
            self._log.text("best/policy", f"{head}{table}\n{error}", self._step)
            return
        self._log.image("best/policy", image, self._step)

    def hparams(self, settings: Mapping[str, Any], results: Mapping[str, float | None]) -> None:
        """Write the run's settings and results, for TensorBoard's table of runs.

        Args:
            settings: Settings by name; what is no number, text or truth value is written as text.
            results: Figures of the finished run by name; None is left out.
        """
        simple = {name: v if isinstance(v, bool | int | float | str) else plain(v) for name, v in settings.items()}
        known = {f"result/{name}": float(value) for name, value in results.items() if value is not None}
        self._log.hparams(simple, known, self._step)

    def close(self) -> None:
        """Write out what is pending; a second call does nothing."""
        self._log.close()

    def _add(self, tag: str, value: float | None) -> None:
        if value is not None:
            self._log.scalars({tag: value}, self._step)

    def _note(self, row: Mapping[str, Any]) -> None:
        found = _scored(row)
        if found is None:
            return
        self._scored.append(found)
        if self._fits(found, self._limit) and (self._best is None or found.reward > self._best.reward):
            self._best = found

    def _best_within(self, limit: float) -> _Best | None:
        fitting = (found for found in self._scored if self._fits(found, limit))
        return max(fitting, key=lambda found: found.reward, default=None)

    @staticmethod
    def _fits(found: _Best, limit: float) -> bool:
        return found.cost is None or found.cost <= limit * (1 + 1e-9)  # the limit itself, rounded, is within it

    def _about(self, unit: str) -> str:
        limit, dense = cost(self._limit, self._kind), cost(self._dense_cost, self._kind)
        budget = f"Budget: {self._kind} at most {limit} of the dense network's {dense}; costs are in {unit}."
        better = "larger" if self._spec.direction == "maximize" else "smaller"
        return budget if self._spec.is_accuracy else f"{budget} Score: {self._spec.name}, {better} is better."


def _scored(row: Mapping[str, Any]) -> _Best | None:
    """What an episode contributes to the best so far; None without a reward."""
    reward = row.get("reward")
    return None if reward is None else _Best(float(reward), episode_score(row), episode_cost(row))


# Charts of TensorBoard's "Custom Scalars" page: lines that belong together in one picture.
def _layout(spec: ScoreSpec) -> dict[str, Any]:
    return {
        "search": {
            spec.name: ["Multiline", [f"search/{spec.key}", f"best/{spec.key}"]],
            "cost": ["Multiline", ["search/cost", "best/cost", "search/limit"]],
            "share kept": ["Multiline", ["keep/.*"]],
        },
        "agent": {"losses": ["Multiline", ["agent/.*loss"]], "noise": ["Multiline", ["agent/noise.*"]]},
    }
