"""`front.json`: the policies of a search that no other beats in score and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoprune.errors import InputError
from autoprune.foundations.files import read_json, write_json
from autoprune.run.score import Direction
from autoprune.space import first_fault

__all__ = ["FRONT", "Front", "FrontPoint", "read_front"]

FRONT = "front.json"
"""The file's name in the folder of a run."""

_OF_FRONTS = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class FrontPoint(BaseModel):
    """A policy of the front, or the dense network beside it."""

    model_config = _OF_FRONTS

    score: float = Field(description="on the search split, before fine-tuning; accuracy as a fraction")
    predicted_cost: float = Field(description="in the front's unit")
    episode: int | None = None
    choices: dict[str, int] = Field(description="decision -> kept units")
    policy: str | None = Field(default=None, description="the policy's file in the run's folder")


class Front(BaseModel):
    """The front of a search, by rising cost."""

    model_config = _OF_FRONTS

    form: Literal["autoprune.front/1"] = Field(default="autoprune.front/1", alias="schema")
    kind: str = Field(description="what the budget limits")
    unit: str
    limit: float = Field(description="the budget, where the front begins; in the unit")
    score_name: str
    direction: Direction
    dense: FrontPoint
    points: tuple[FrontPoint, ...]

    def save(self, run: Path) -> None:
        """Write the file into a run's folder, atomically."""
        write_json(run / FRONT, self.model_dump(mode="json", by_alias=True, exclude_none=True))


def read_front(run: Path) -> Front | None:
    """The front of a run; None if it searched none.

    Raises:
        InputError: If the file is damaged.
    """
    path = run / FRONT
    if not path.exists():
        return None
    try:
        return Front.model_validate(read_json(path, "front"))
    except ValidationError as error:
        raise InputError(f"{path} is damaged: {first_fault(error)}") from error
