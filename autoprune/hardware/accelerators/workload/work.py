"""The work of one layer: a matrix of kept weights, and the vectors that it is multiplied with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError, UnsupportedModelError

__all__ = ["LayerWork", "NotPriced", "Workload"]


@dataclass(frozen=True, eq=False)
class LayerWork:
    """A layer as a matrix that is multiplied with vectors, once a position of its output.

    A convolution is im2col: an output is a row, and the inputs of a row are kernel rows, kernel columns, channels, with
    the channels fastest. A grouped convolution is one matrix a group, all of the same shape and stacked by outputs.

    Attributes:
        name: Qualified name of the layer, for people.
        mask: bool, (outputs, inputs): true where a weight stays. The outputs of all groups; the inputs of one.
        activations: (vectors, groups * inputs): a sample of what it is given, of any number type; zero is what an
            accelerator can skip.
        positions: Vectors of one call; the sample stands for all of them.
        source: Where the sample comes from, for people.
        weight: Name of the weight's parameter; None where the weight is computed, or the layer is made up.
        bias: Whether something is added to every output (a bias, or a BatchNorm behind it).
        groups: Groups of a convolution.
        kernel: Positions of the kernel, 1 for a linear layer: `inputs` is a multiple of it.

    Raises:
        InputError: If the shapes do not fit each other.
    """

    name: str
    mask: NDArray[np.bool_]
    activations: NDArray[np.generic]
    positions: int = 1
    source: str = "given"
    weight: str | None = None
    bias: bool = False
    groups: int = 1
    kernel: int = 1

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != np.bool_ or not self.mask.size:
            raise InputError(f"{self.name}: the mask of a layer is a matrix of booleans, not {_form(self.mask)}")
        if self.groups < 1 or self.outputs % self.groups or self.inputs % self.kernel or self.positions < 1:
            raise InputError(
                f"{self.name}: {self.outputs} x {self.inputs} weights cannot be {self.groups} groups of a kernel of"
                f" {self.kernel}, at {self.positions} positions"
            )
        wanted = self.groups * self.inputs
        if self.activations.ndim != 2 or self.activations.shape[1] != wanted or not len(self.activations):
            raise InputError(
                f"{self.name}: a sample of activations is (vectors, {wanted}), not {_form(self.activations)}"
            )

    @property
    def outputs(self) -> int:
        """Rows of the matrix: R, of all groups together."""
        return int(self.mask.shape[0])

    @property
    def inputs(self) -> int:
        """Columns of the matrix: K, of one group."""
        return int(self.mask.shape[1])

    @cached_property
    def active(self) -> NDArray[np.bool_]:
        """Which activations of the sample are not zero, (vectors, groups * inputs)."""
        found: NDArray[np.bool_] = self.activations != 0
        return found

    @property
    def weights(self) -> int:
        """Weights that stay."""
        return int(np.count_nonzero(self.mask))

    @property
    def density(self) -> float:
        """Share of the weights that stay."""
        return self.weights / self.mask.size

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call, dense."""
        return int(self.mask.size) * self.positions

    def with_mask(self, mask: NDArray[np.bool_]) -> LayerWork:
        """The same layer with other weights kept. The activations stay: they move with the layers before it alone."""
        return replace(self, mask=mask)

    def dense(self) -> LayerWork:
        """The same layer with all weights kept."""
        return self.with_mask(np.ones_like(self.mask))

    def parts(self) -> Iterator[LayerWork]:
        """Each group as a layer of its own, in order; the layer itself where there is one group."""
        if self.groups == 1:
            yield self
            return
        rows = self.outputs // self.groups
        for group in range(self.groups):
            outputs = slice(group * rows, (group + 1) * rows)
            inputs = slice(group * self.inputs, (group + 1) * self.inputs)
            yield replace(self, mask=self.mask[outputs], activations=self.activations[:, inputs], groups=1)


@dataclass(frozen=True)
class NotPriced:
    """An operator that an accelerator's cost does not contain: it is taken to be free, and named.

    Attributes:
        name: Qualified name of the module, or the operator's own where it is called in a larger one's forward.
        operator: ATen operator.
        reason: Why it is not priced.
        multiplies: Whether it multiplies with weights, so that taking it for free makes a cost far too low.
    """

    name: str
    operator: str
    reason: str
    multiplies: bool = False


@dataclass(frozen=True)
class Workload:
    """All layers of a network, in forward order.

    Attributes:
        works: Those that are priced.
        free: The operators that are not; nothing of the network is left out of both.
    """

    works: Sequence[LayerWork]
    free: Sequence[NotPriced] = ()

    def require_priced(self) -> None:
        """Refuse a network whose cost would be far too low.

        Raises:
            UnsupportedModelError: If it multiplies with weights in a way that is not priced.
        """
        unpriced = next((each for each in self.free if each.multiplies), None)
        if unpriced is not None:
            raise UnsupportedModelError(
                f"{unpriced.name} ({unpriced.operator}) has weights, and accelerators price linear layers, convolutions"
                " and plain products alone"
            )

    def __iter__(self) -> Iterator[LayerWork]:
        return iter(self.works)

    def __getitem__(self, name: str) -> LayerWork:
        return next(work for work in self.works if work.name == name)


def _form(array: NDArray[np.generic]) -> str:
    return f"{list(array.shape)} of {array.dtype}"
