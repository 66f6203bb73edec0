"""The rows of a run's files that grow: a finished episode of a search, a finished step of progressive pruning."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autoprune.errors import InputError
from autoprune.space import first_fault

__all__ = ["EpisodeRecord", "PauseRecord", "StepRecord"]


class EpisodeRecord(BaseModel):
    """One finished episode; a line of `episodes.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    episode: int = Field(ge=0)
    agent: str
    choices: dict[str, int] = Field(description="decision -> kept units, as executed")
    accuracy: float | None = Field(default=None, description="on the search split, a fraction")
    score: float | None = Field(default=None, description="another score than accuracy, on the search split")
    predicted_cost: float = Field(description="in the budget's unit")
    reward: float
    seconds: float = Field(description="wall time of the episode, evaluation and learning included")
    cached: bool = Field(description="the policy had been scored before; nothing was evaluated")
    warmup: bool = Field(description="a solver's answer or random exploration, not the agent's own choice")
    images: float | None = Field(
        default=None, gt=0, lt=1, description="share of the images after which it was given up; its score is estimated"
    )

    @model_validator(mode="after")
    def _scored_once(self) -> Self:
        if (self.accuracy is None) == (self.score is None):
            raise ValueError("an episode has an accuracy or a score")
        return self

    @property
    def value(self) -> float:
        """The accuracy or the score, in its own unit."""
        return float(self.score if self.accuracy is None else self.accuracy)  # type: ignore[arg-type]  # one is there

    @property
    def share(self) -> float:
        """Share of the images that the score was taken on."""
        return 1.0 if self.images is None else self.images

    def to_row(self) -> dict[str, Any]:
        """The record as plain JSON values; floats survive the way through JSON bit for bit."""
        row = self.model_dump(mode="json")
        idle = {"images"} if self.images is None else set()
        idle |= set() if self.accuracy is None else {"score"}
        return {name: value for name, value in row.items() if name not in idle}

    @classmethod
    def from_row(cls, row: Any) -> EpisodeRecord:
        """A record from plain JSON values.

        Raises:
            InputError: If it is not a record.
        """
        try:
            return cls.model_validate(row, strict=True)
        except ValidationError as error:
            raise InputError(f"not a row of episodes: {first_fault(error)}") from error

    def same_as(self, other: EpisodeRecord) -> bool:
        """Whether both are the same episode: equal but for the time taken and where the score came from."""
        skipped = {"seconds", "cached"}
        return self.model_dump(exclude=skipped) == other.model_dump(exclude=skipped)


_OF_STEPS = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class PauseRecord(BaseModel):
    """A wait for a device that was slowed down."""

    model_config = _OF_STEPS

    reason: str
    seconds: float
    over: bool = Field(description="whether the device had recovered at its end")


class StepRecord(BaseModel):
    """One finished step; a line of `steps.jsonl`, of which step 0 is the dense network.

    A share of the limit is of what the budget allows, in the session in which the step was measured.
    """

    model_config = _OF_STEPS

    step: int
    choices: dict[str, int] = Field(description="decision -> kept units")
    kept: dict[str, list[int]] | None = Field(default=None, description="group -> indices of the kept units")
    predicted: float = Field(description="before the network was built, in the budget's unit")
    measured: float = Field(description="in the budget's unit")
    how: str | None = Field(default=None, description="measured, counted or modelled")
    limit: float = Field(description="in the budget's unit")
    over: float = Field(description="measured, as a share of the limit")
    latency_ms: float | None = None
    dense_ms: float | None = Field(default=None, description="the dense network's, in the same session")
    spread: float | None = Field(default=None, description="of the latency, as a share")
    stable: bool | None = Field(default=None, description="the timing protocol's stopping rule was met")
    goal: float | None = Field(default=None, description="what the step aimed at, as a share of the limit")
    shrunk: list[str] = Field(default=[], description="decisions that keep less than in the step before")
    timed: list[dict[str, int]] | None = Field(default=None, description="choices whose networks were timed, in order")
    proposals: int | None = Field(default=None, description="how many were scored")
    accuracy_cut: float | None = Field(default=None, description="before fine-tuning, on the search split")
    accuracy: float | None = Field(default=None, description="fine-tuned, on images that no proposal was scored on")
    score_cut: float | None = Field(default=None, description="another score, before fine-tuning")
    score: float | None = Field(default=None, description="another score, fine-tuned")
    throttled: PauseRecord | None = None
    signals: dict[str, Any] | None = Field(default=None, description="signal -> value, unit and source")
    seconds: float | None = None

    @property
    def values(self) -> tuple[float | None, float | None]:
        """Accuracy or score of the network, before and after the step's fine-tuning."""
        if self.score is not None or self.score_cut is not None:
            return self.score_cut, self.score
        return self.accuracy_cut, self.accuracy

    @classmethod
    def from_row(cls, row: Any) -> StepRecord:
        """A record from plain JSON values.

        Raises:
            InputError: If it is not a record.
        """
        try:
            return cls.model_validate(row)
        except ValidationError as error:
            raise InputError(f"not a step: {first_fault(error)}") from error
