"""What a training did to a network's score, and which of the two a run kept."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from autoprune.run.score import ScoreSpec

__all__ = ["TrainingOutcome", "outcome_lines"]


class TrainingOutcome(BaseModel):
    """A network before and after a training, on images of the search split that no policy was chosen by."""

    model_config = ConfigDict(frozen=True)

    seed: int = Field(description="of the training")
    before: float | None = Field(description="score of the pruned network; None if it is not finite")
    after: float | None = Field(description="score of the trained one; None if it is not finite")
    kept: bool = Field(description="whether the trained network is kept; else the one before is")

    @classmethod
    def judged(cls, spec: ScoreSpec, seed: int, before: float | None, after: float | None) -> TrainingOutcome:
        """A training that lost score is not kept, nor one whose score is not finite.

        >>> ACCURACY = ScoreSpec()
        >>> [TrainingOutcome.judged(ACCURACY, 0, *pair).kept for pair in ((0.9, 0.9), (0.9, 0.1), (0.9, None))]
        [True, False, False]
        >>> TrainingOutcome.judged(ScoreSpec("MSE", "minimize"), 0, 2.0, 1.5).kept
        True
        """
        if after is None:
            return cls(seed=seed, before=before, after=after, kept=False)
        return cls(
            seed=seed, before=before, after=after, kept=before is None or spec.merit(after) >= spec.merit(before)
        )

    def text(self, spec: ScoreSpec) -> str:
        """For people: what training came to, and what was kept."""
        kept = "the trained network is kept" if self.kept else "the network before it is kept"
        return f"{spec.text(self.before)} before, {spec.text(self.after)} after on held-out images: {kept}"


def outcome_lines(outcomes: Iterable[TrainingOutcome], spec: ScoreSpec) -> list[str]:
    """A line for each training whose network was not kept."""
    return [f"fine-tuning, seed {each.seed}: {each.text(spec)}" for each in outcomes if not each.kept]
