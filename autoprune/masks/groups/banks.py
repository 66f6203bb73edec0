"""Bank-balanced: each row is cut in equal banks, and every bank keeps as many weights (Cao et al., FPGA 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from autoprune.errors import InputError
from autoprune.masks.base import PlanesShape
from autoprune.masks.groups.base import Balanced

__all__ = ["BankBalanced"]


@dataclass(frozen=True)
class BankBalanced(Balanced):
    """Every bank of every row keeps the same number of weights.

    A row is an output with all that it reads, kernel positions included. Where it is no multiple of the banks, the last
    banks are smaller.

    Attributes:
        zeros: Share of a bank that goes.
        banks: Banks of a row.
    """

    banks: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.banks < 1:
            raise InputError(f"a row of {self.banks} banks is none; write such as bank:4:0.5")

    @property
    def name(self) -> str:
        """As users write it."""
        return f"bank:{self.banks}:{self.zeros:g}"

    def why_not(self, shape: PlanesShape) -> str | None:
        """See `Pattern.why_not`."""
        row = shape[0] * shape[2]
        if row < 2 * self.banks:
            return f"a row of {row} weights gives {self.banks} banks less than 2 each"
        if row * (1 - self.zeros) < self.banks * (1 - 1e-9):
            least = 1 - self.banks / row
            return f"a bank of {row / self.banks:g} weights would keep less than one; at most {least:.3g} may be zero"
        return None

    def units(self, shape: PlanesShape) -> int:
        """See `Graded.units`."""
        return -(-shape[0] * shape[2] // self.banks)

    def groups(self, matrix: Tensor, filler: float) -> Tensor:
        """See `Balanced.groups`."""
        size = -(-matrix.shape[1] // self.banks)
        padded = functional.pad(matrix, (0, self.banks * size - matrix.shape[1]), value=filler)
        return padded.reshape(-1, size)

    def back(self, groups: Tensor, outputs: int, inputs: int) -> Tensor:
        """See `Balanced.back`."""
        return groups.reshape(outputs, -1)[:, :inputs]

    def where(self, group: int, outputs: int, inputs: int) -> str:
        """See `Balanced.where`."""
        output, bank = divmod(group, self.banks)
        return f"output {output}, bank {bank}"
