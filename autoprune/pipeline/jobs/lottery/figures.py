"""What the rows of a study come to: accuracy by round and arm, paired differences, the ticket that is handed over."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.reports.grid import Difference, difference
from autoprune.run.score import ScoreSpec

__all__ = ["ENOUGH", "StudyRows", "comparisons", "delivered_round", "rounds_of"]

ENOUGH = 3
"""Seeds below which nothing is called better than anything."""

_AS_DENSE = ("shuffled", "random", "finetune", "lr-rewind", "small")
"""Controls that are the dense network where nothing is pruned."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class StudyRows:
    """The finished trainings.

    Attributes:
        rows: As `rounds.jsonl` has them.
        spec: What networks are judged by.
        controls: Arms beside the ticket.
    """

    rows: Sequence[Row]
    spec: ScoreSpec
    controls: tuple[str, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The ticket, then the controls."""
        return ("ticket", *self.controls)

    @property
    def last(self) -> int:
        """The last round."""
        return max((row["round"] for row in self.rows), default=0)

    def of(self, arm: str, number: int) -> list[Row]:
        """An arm's trainings of a round, by seed; of round 0 the dense network's where the arm is the same there."""
        own = "dense" if number == 0 and (arm == "ticket" or arm in _AS_DENSE) else arm
        found = [row for row in self.rows if row["arm"] == own and row["round"] == number]
        return sorted(found, key=lambda row: row["seed"])

    def merits(self, arm: str, number: int, key: str = "score") -> dict[int, float]:
        """Seed -> score, turned so that larger is better."""
        return {row["seed"]: self.spec.merit(row[key]) for row in self.of(arm, number)}


def rounds_of(study: StudyRows) -> list[dict[str, Any]]:
    """A mapping for every round: its density, and for every arm scores on the test split and early-stop steps."""
    found = []
    for number in range(study.last + 1):
        tickets = study.of("ticket", number)
        content: dict[str, Any] = {"round": number, "density": statistics.fmean(row["density"] for row in tickets)}
        content |= {arm: _figures(study.of(arm, number), study.spec) for arm in study.arms}
        found.append(content)
    return found


def _figures(rows: Sequence[Row], spec: ScoreSpec) -> dict[str, Any]:
    scores, early = [row["score"] for row in rows], [row["early_score"] for row in rows]
    return {
        f"{spec.key}_mean": statistics.fmean(scores),
        f"{spec.key}_std": statistics.stdev(scores) if len(scores) > 1 else None,
        "accuracies" if spec.is_accuracy else "scores": scores,
        "early_stop_step": statistics.fmean(row["early_step"] for row in rows),
        "early_stop_step_std": statistics.stdev(row["early_step"] for row in rows) if len(rows) > 1 else None,
        f"early_stop_{spec.key}": statistics.fmean(early),
        "steps": rows[0]["steps"],
        "density": statistics.fmean(row["density"] for row in rows),
    }


def comparisons(study: StudyRows) -> list[dict[str, Any]]:
    """The ticket less each control of its round, and less the dense network, seed by seed."""
    found = []
    for number in range(1, study.last + 1):
        ticket = study.merits("ticket", number)
        others = {"dense": study.merits("ticket", 0)}
        others |= {control: study.merits(control, number) for control in study.controls}
        for name, merits in others.items():
            paired = difference(ticket, merits)
            if paired is not None:
                positive = sum(ticket[seed] > merits[seed] for seed in ticket.keys() & merits.keys())
                found.append(
                    {"round": number, "against": name, **asdict(paired), "positive": positive, "said": _said(paired)}
                )
    return found


def _said(found: Difference) -> str:
    """What may be said of a difference."""
    if found.seeds < ENOUGH:
        return f"not judged: {found.seeds} of {ENOUGH} seeds"
    if not found.clear:
        return "not clear"
    return "above" if found.mean > 0 else "below"


def delivered_round(study: StudyRows) -> tuple[int, bool]:
    """The sparsest round whose tickets are not below the dense network by more than one standard deviation of it.

    The search split decides. Of one seed there is no deviation: the ticket must not be below at all.

    Returns:
        The round, and whether there was one; else it is the first.
    """
    dense = list(study.merits("ticket", 0, "validation").values())
    least = statistics.fmean(dense) - (statistics.stdev(dense) if len(dense) > 1 else 0.0)
    for number in range(study.last, 0, -1):
        if statistics.fmean(study.merits("ticket", number, "validation").values()) >= least:
            return number, True
    return 1, False
