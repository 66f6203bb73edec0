"""N:M sparsity: of every M neighbours along a layer's inputs, N weights stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from autoprune.errors import PolicyMismatchError
from autoprune.foundations.files import shortened
from autoprune.masks.base import Pattern
from autoprune.masks.compressed import is_two_of_four
from autoprune.masks.n_of_m import LARGEST_GROUP, NofM
from autoprune.space import NM
from autoprune.techniques.sparsity.masked import MaskTechnique, Share
from autoprune.techniques.sparsity.tensors import Weight

__all__ = ["GroupShare", "NofMSettings", "NofMSparsity", "StoredShare"]


class NofMSettings(BaseModel):
    """Settings of N:M sparsity, written behind an @: `nm@m=8+n=2/4`."""

    model_config = ConfigDict(extra="forbid")

    m: int = Field(default=4, ge=2, le=LARGEST_GROUP, description="neighbours along the inputs that make a group")
    permute: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="seconds for a search of an order of units in which the groups keep more; default 0, none",
    )
    n: tuple[int, ...] = Field(default=(), description="weights of a group that may stay, such as 1/2; default 1 to M")

    @field_validator("n", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split("/") if part) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _n_of_m(self) -> NofMSettings:
        wrong = next((n for n in self.n if not 1 <= n <= self.m), None)
        if wrong is not None:
            raise ValueError(f"{wrong} of {self.m} weights cannot stay; write numbers from 1 to {self.m}")
        return self

    @property
    def options(self) -> tuple[int, ...]:
        """Weights of a group that may stay, ascending; the last is whole."""
        return tuple(sorted({*(self.n or range(1, self.m + 1)), self.m}))


@dataclass(frozen=True)
class GroupShare:
    """The share of a layer's multiplications that its kept weights need.

    Attributes:
        m: Weights of a group.
    """

    m: int

    def __call__(self, kept: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept weights of a group, (policies, 1), and inputs of each output, (policies,), to shares, (policies,)."""
        whole, rest = np.divmod(inputs, self.m)
        stay = whole * kept[:, 0] + np.minimum(rest, kept[:, 0])
        shares: NDArray[np.float64] = stay / np.maximum(inputs, 1)
        return shares


@dataclass(frozen=True)
class StoredShare:
    """The share of a float32 weight's bytes that the layout `compressed` takes: two values a group of four, four bits.

    Attributes:
        m: Weights of a group.
    """

    m: int

    def __call__(self, kept: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept weights of a group, (policies, 1), and inputs of each output, (policies,), to shares, (policies,)."""
        fits = np.array([n < self.m and is_two_of_four(NofM(int(n), self.m)) for n in kept[:, 0]])
        groups = -(-inputs // 4)
        shares: NDArray[np.float64] = np.minimum(1.0, (2 * 4 + 0.5) * groups / (4 * np.maximum(inputs, 1)))
        return np.where(fits & (inputs > kept[:, 0]), shares, 1.0)


class NofMSparsity(MaskTechnique):
    """A decision keeps N of every M weights along the inputs of one tensor: those that the run's criterion ranks first.

    A layer that a cut leaves with N inputs or fewer is dense.
    """

    name = "nm"
    kind = NM
    kinds = (NM,)
    settings_class: ClassVar[type[BaseModel]] = NofMSettings

    def options_of(self, weight: Weight) -> tuple[int, ...]:
        """Weights of a group that may stay."""
        found: tuple[int, ...] = self.settings.options
        return found

    def head(self) -> dict[str, Any]:
        """The size of a group."""
        return {"m": self.settings.m}

    def width_of(self, weight: Weight, head: Mapping[str, Any]) -> int:
        """The size of a group."""
        m = head.get("m", self.settings.m)
        if type(m) is not int or not 2 <= m <= LARGEST_GROUP:
            raise PolicyMismatchError(f"the policy's groups are of {shortened(repr(m), 40)} weights, not of 2 or more")
        return m

    def pattern(self, weight: Weight, kept: int, head: Mapping[str, Any]) -> Pattern:
        """N:M."""
        return NofM(kept, self.width_of(weight, head))

    @property
    def ordered_for(self) -> NofM:
        """The pattern that an order of units is searched for: of those that can be chosen the one nearest to half."""
        return NofM(min(self.settings.options[:-1], key=lambda n: abs(2 * n - self.settings.m)), self.settings.m)

    def share(self, weight: Weight) -> Share:
        """Of the multiplications, those with kept weights."""
        return GroupShare(self.settings.m)

    def stored(self) -> Share:
        """In the layout `compressed` where the pattern is 2:4 as well."""
        return StoredShare(self.settings.m)
