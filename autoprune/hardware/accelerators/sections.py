"""The parts of an accelerator's file that templates share. Units stand in the keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Section", "Technology"]


class Section(BaseModel):
    """Base of every part: a value, with no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Technology(Section):
    """What the silicon is made in.

    Attributes:
        node_nm: Technology node; energy and area of memories are scaled by its square from the tables' 45 nm.
        source: Where the figures of the file come from, for people.
    """

    node_nm: float = Field(default=45, gt=0, le=1000)
    source: str = "CACTI 7; Horowitz 2014"
