"""The contract of an encoding: a mask becomes an index and a row of values, and is read back out of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError
from autoprune.hardware.accelerators.encodings.bits import Bits

__all__ = ["Encoded", "Encoding", "Mask", "entropy_bits"]

Mask = NDArray[np.bool_]
"""(outputs, inputs): true where a weight stays."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A mask as it is stored.

    Attributes:
        index: What says where the weights are.
        values: One a stored value, in order: true for a weight, false for a zero that fills a place or carries a gap.
    """

    index: Bits
    values: NDArray[np.bool_]

    def bits(self, value_bits: int) -> int:
        """Length of all of it, with values of so many bits."""
        return len(self.index) + len(self.values) * value_bits

    def index_bits(self, value_bits: int) -> float:
        """Bits for each weight beside its own value; the values of what is no weight count. Infinite without one."""
        weights = int(np.count_nonzero(self.values))
        return (self.bits(value_bits) - weights * value_bits) / weights if weights else math.inf


class Encoding(ABC):
    """How a matrix says where its weights are. Encodings are values."""

    name: ClassVar[str]

    @abstractmethod
    def _encode(self, mask: Mask) -> Encoded:
        """The mask as it is stored; it can be."""

    @abstractmethod
    def decode(self, encoded: Encoded, shape: tuple[int, int]) -> Mask:
        """The mask of a shape that is stored so."""

    def why_not(self, mask: Mask) -> str | None:
        """Why a mask cannot be stored; None if it can."""
        return None

    def encode(self, mask: Mask) -> Encoded:
        """The mask as it is stored.

        Args:
            mask: bool, (outputs, inputs).

        Raises:
            InputError: If it is no matrix of booleans, or the encoding cannot store it.
        """
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise InputError(f"a mask is a matrix of booleans, not {list(mask.shape)} of {mask.dtype}")
        reason = self.why_not(mask)
        if reason is not None:
            raise InputError(f"{self.name} cannot store this mask: {reason}")
        return self._encode(mask)


def entropy_bits(density: float) -> float:
    """Bits a weight below which no index of unstructured random masks can get on average: H(d) / d.

    >>> round(entropy_bits(0.25), 2)
    3.25
    """
    if not 0 < density < 1:
        return 0.0
    return -(density * math.log2(density) + (1 - density) * math.log2(1 - density)) / density
