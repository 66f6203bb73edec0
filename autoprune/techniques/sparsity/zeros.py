"""A share of a tensor's weights is zero: single weights wherever they lie, or whole blocks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from autoprune.errors import InputError, PolicyMismatchError
from autoprune.foundations.files import shortened
from autoprune.masks.base import Pattern
from autoprune.masks.blocks import Blocks
from autoprune.masks.parsing import pattern_of
from autoprune.masks.unstructured import Unstructured
from autoprune.space import ZEROS
from autoprune.techniques.sparsity.masked import MaskTechnique, Share
from autoprune.techniques.sparsity.tensors import Weight

__all__ = ["STEPS", "KeptShare", "Zeros", "ZerosSettings"]

STEPS = 1000
"""A decision counts thousandths of a tensor's weights."""

_SINGLE = "unstructured"
_OPTIONS = (50, 100, 200, 300, 400, 500, 600, 700, 800, 900)


class ZerosSettings(BaseModel):
    """Settings of unstructured and block sparsity, written behind an @: `zeros@block=4x4`."""

    model_config = ConfigDict(extra="forbid")

    block: str = Field(
        default=_SINGLE, description="outputs x inputs that go together, such as 4x4; default single weights"
    )
    keep: tuple[int, ...] = Field(
        default=_OPTIONS, description="thousandths of a tensor's weights that may stay, such as 100/500"
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split("/") if part) if isinstance(value, str) else value

    @field_validator("keep")
    @classmethod
    def _are_shares(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or not all(0 < kept <= STEPS for kept in value):
            raise ValueError(f"write numbers from 1 to {STEPS}, such as 100/500")
        return tuple(sorted({*value, STEPS}))

    @field_validator("block")
    @classmethod
    def _is_a_block(cls, value: str) -> str:
        try:
            _sparse(value, 0.5)
        except InputError as error:
            raise ValueError(f"write outputs x inputs, such as 4x4, or {_SINGLE}") from error
        return value


@dataclass(frozen=True)
class KeptShare:
    """The share of a layer's multiplications that its kept weights need; counts are rounded to whole weights later."""

    def __call__(self, kept: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept thousandths, (policies, 1), to shares, (policies,)."""
        return kept[:, 0] / STEPS


class Zeros(MaskTechnique):
    """A decision keeps so many thousandths of one tensor's weights: those that the run's criterion ranks first."""

    name = "zeros"
    kind = ZEROS
    kinds = (ZEROS,)
    exact = False  # masks over all tensors together have a share of their own in each
    settings_class: ClassVar[type[BaseModel]] = ZerosSettings

    def options_of(self, weight: Weight) -> tuple[int, ...]:
        """Thousandths that may stay."""
        return tuple(sorted({*self.settings.keep, STEPS}))

    def head(self) -> dict[str, Any]:
        """The shape of a block."""
        return {"block": self.settings.block}

    def width_of(self, weight: Weight, head: Mapping[str, Any]) -> int:
        """Thousandths of the whole."""
        self.pattern(weight, STEPS // 2, head)
        return STEPS

    def pattern(self, weight: Weight, kept: int, head: Mapping[str, Any]) -> Pattern:
        """Single weights or blocks."""
        block = head.get("block", self.settings.block)
        try:
            return _sparse(str(block), 1 - min(kept, STEPS) / STEPS)
        except InputError as error:
            raise PolicyMismatchError(f"the policy's blocks are none: {shortened(repr(block), 40)}") from error

    def share(self, weight: Weight) -> Share:
        """Of the multiplications, those with kept weights."""
        return KeptShare()


def _sparse(block: str, zeros: float) -> Unstructured | Blocks:
    """The pattern of a kind of block and a share of zeros."""
    found = pattern_of(f"{block}:{zeros:.6f}")
    if not isinstance(found, Unstructured | Blocks):
        raise InputError(f"{block} is no kind of block")
    return found
