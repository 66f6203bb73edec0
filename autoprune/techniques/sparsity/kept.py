"""Patterns of accelerators: how much of every group of a weight stays, where hardware says what a group is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from autoprune.errors import InputError, PolicyMismatchError
from autoprune.foundations.files import shortened
from autoprune.masks.base import Graded, Pattern, PlanesShape
from autoprune.masks.parsing import FAMILIES, family_of
from autoprune.space import KEPT
from autoprune.techniques.sparsity.masked import MaskTechnique, Share
from autoprune.techniques.sparsity.tensors import Weight

__all__ = ["SHARES", "Kept", "KeptOfGroup", "KeptSettings"]

SHARES = (0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75)
"""Shares of a group that may stay where none are named."""


class KeptSettings(BaseModel):
    """Settings of patterns of accelerators, written behind an @: `kept@pattern=bank:4+keep=0.25/0.5`."""

    model_config = ConfigDict(extra="forbid")

    pattern: str = Field(default="unstructured", description=f"the family of patterns: {FAMILIES}")
    keep: tuple[float, ...] = Field(
        default=SHARES, description="shares of a group that may stay, such as 0.25/0.5; rounded to whole units"
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split("/") if part) if isinstance(value, str) else value

    @field_validator("keep")
    @classmethod
    def _are_shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or not all(0 < share < 1 for share in value):
            raise ValueError("write shares above 0 and below 1, such as 0.25/0.5")
        return tuple(sorted(set(value)))

    @field_validator("pattern")
    @classmethod
    def _is_a_family(cls, value: str) -> str:
        try:
            return family_of(value).family
        except InputError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class KeptOfGroup:
    """The share of a layer's multiplications that its kept weights need.

    Attributes:
        kept: Kept units of a group, ascending, the last is whole.
        shares: Share of the weights that stays, of each.
    """

    kept: tuple[int, ...]
    shares: tuple[float, ...]

    def __call__(self, kept: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept units, (policies, 1), to shares, (policies,)."""
        found: NDArray[np.float64] = np.interp(kept[:, 0], self.kept, self.shares)
        return found


class Kept(MaskTechnique):
    """A decision keeps so many units of every group of one tensor; which groups, the family of patterns says.

    Of banks and columns a unit is a weight of a bank or of an element's column, of N:M one of the M neighbours, of
    kernels, filters and blocks one of those of the tensor. The run's criterion ranks them.
    """

    name = "kept"
    kind = KEPT
    kinds = (KEPT,)
    settings_class: ClassVar[type[BaseModel]] = KeptSettings

    def options_of(self, weight: Weight) -> tuple[int, ...]:
        """Units of a group that may stay."""
        return amounts_of(family_of(self.settings.pattern), weight.shape, self.settings.keep)

    def head(self) -> dict[str, Any]:
        """The family."""
        return {"pattern": self.settings.pattern}

    def width_of(self, weight: Weight, head: Mapping[str, Any]) -> int:
        """Units of a whole group."""
        return self._family(head).units(weight.shape)

    def pattern(self, weight: Weight, kept: int, head: Mapping[str, Any]) -> Pattern:
        """The family's pattern of so many units of a group of the dense weight."""
        return self._family(head).keeping(kept, weight.shape)

    def share(self, weight: Weight) -> Share:
        """Of the multiplications, those with kept weights; layers that cannot have a pattern are dense there."""
        *kept, whole = self.options_of(weight)
        found = {each: self.pattern(weight, each, {}) for each in kept}
        fits = {each: one.density(weight.shape) for each, one in found.items() if one.why_not(weight.shape) is None}
        return KeptOfGroup((*fits, whole), (*fits.values(), 1.0))

    def _family(self, head: Mapping[str, Any]) -> Graded:
        name = head.get("pattern", self.settings.pattern)
        try:
            return family_of(str(name))
        except InputError as error:
            raise PolicyMismatchError(f"the policy's pattern is none: {shortened(repr(name), 40)}") from error


def amounts_of(family: Graded, shape: PlanesShape, shares: tuple[float, ...]) -> tuple[int, ...]:
    """Kept units of a group that come nearest to some shares, ascending; all of them last.

    >>> amounts_of(family_of("bank:4"), (1, 8, 64), (0.125, 0.25, 0.5))
    (2, 4, 8, 16)
    """
    units, step = family.units(shape), family.step
    nearest = {round(share * units / step + 1e-9) * step for share in shares}
    return (*sorted(kept for kept in nearest if 0 < kept < units), units)
