"""Column-balanced: rows are dealt to processing elements, and each keeps as many weights of every column."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from autoprune.errors import InputError
from autoprune.masks.base import PlanesShape
from autoprune.masks.groups.base import Balanced

__all__ = ["ColumnBalanced"]


@dataclass(frozen=True)
class ColumnBalanced(Balanced):
    """Row i belongs to processing element i mod `elements`; each keeps the same number of weights of every column.

    An activation then takes each element as many cycles, so that no queue is needed (Gao et al., Spartus, 2022).
    Where the rows are no multiple of the elements, the last elements have one row less.

    Attributes:
        zeros: Share of an element's weights of a column that goes.
        elements: Processing elements.
    """

    elements: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.elements < 1:
            raise InputError(f"{self.elements} processing elements are none; write such as column:8:0.75")

    @property
    def name(self) -> str:
        """As users write it."""
        return f"column:{self.elements}:{self.zeros:g}"

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        rows, share = shape[1] / self.elements, 1 - self.zeros
        if rows < 2:
            return f"{shape[1]} rows over {self.elements} elements leave each less than 2 weights of a column"
        if rows * share < 1 - 1e-9:
            return (
                f"{shape[1]} rows over {self.elements} elements are {rows:g} a column, fewer than 1 / {share:g}: take"
                f" at most {int(shape[1] * share)} elements, or at most {1 - 1 / rows:.3g} zeros"
            )
        return None

    def units(self, shape: PlanesShape) -> int:
        """See `Graded.units`."""
        return -(-shape[1] // self.elements)

    def groups(self, matrix: Tensor, filler: float) -> Tensor:
        """See `Balanced.groups`."""
        size = -(-matrix.shape[0] // self.elements)
        padded = functional.pad(matrix, (0, 0, 0, size * self.elements - matrix.shape[0]), value=filler)
        return padded.reshape(size, self.elements, -1).permute(1, 2, 0).reshape(-1, size)

    def back(self, groups: Tensor, outputs: int, inputs: int) -> Tensor:
        """See `Balanced.back`."""
        parts = groups.reshape(self.elements, inputs, -1).permute(2, 0, 1)
        return parts.reshape(-1, inputs)[:outputs]

    def where(self, group: int, outputs: int, inputs: int) -> str:
        """See `Balanced.where`."""
        element, column = divmod(group, inputs)
        return f"column {column} at element {element}"
