"""Where a model uses which layers: each cost-bearing operator with its widths as functions of the decisions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.graph import Extent
from autoprune.hardware.contract.layer import Layer, whole
from autoprune.space import SearchSpace

__all__ = ["OperatorPrice", "PricedOperator", "width_values"]

_MOST_SUMS = 4096  # distinct values of one width; beyond, a concat's sums are thinned
_ONE = Extent(1, (), 1)
_WIDTHS = ("inputs", "outputs", "groups")


@dataclass(frozen=True)
class PricedOperator:
    """One operator of a model.

    Attributes:
        name: Qualified module name, for people.
        layer: The operator with nothing pruned.
        inputs: Its input channels, as a function of the decisions.
        outputs: Its output channels.
        groups: Its groups, when it is a convolution.
        blocks: The decisions on blocks around it: it is executed while all of them are kept.
        when: Decisions on number formats -> the option with which it is executed; with any other it is not.
    """

    name: str
    layer: Layer
    inputs: Extent
    outputs: Extent
    groups: Extent = _ONE
    blocks: tuple[str, ...] = ()
    when: tuple[tuple[str, int], ...] = ()

    @property
    def scope(self) -> tuple[str, ...]:
        """The decisions that its price depends on, each once."""
        formats = (name for name, _ in self.when)
        return tuple(dict.fromkeys((*self.inputs.scope, *self.outputs.scope, *self.blocks, *formats)))

    def runs(self, kept: Mapping[str, int]) -> bool:
        """Whether it is executed at all under a full set of choices."""
        return all(kept[name] for name in self.blocks) and all(kept[name] == option for name, option in self.when)

    def at(self, kept: Mapping[str, int]) -> Layer:
        """The operator under a full set of choices."""
        return replace(self.layer, inputs=self.inputs(kept), outputs=self.outputs(kept), groups=self.groups(kept))

    def grid(self, space: SearchSpace) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The input widths and the output widths that the options can produce."""
        return width_values(self.inputs, space), width_values(self.outputs, space)

    def pairs(self, space: SearchSpace) -> Iterable[tuple[int, int]]:
        """The (input, output) widths that can occur together."""
        inputs, outputs = self.grid(space)
        if self.inputs == self.outputs:
            return zip(inputs, outputs, strict=True)
        return itertools.product(inputs, outputs)

    def of_widths(self, inputs: int, outputs: int) -> Layer:
        """The operator at given widths."""
        groups = self.groups.constant if not self.groups.terms else inputs * self.layer.groups // self.layer.inputs
        return replace(self.layer, inputs=inputs, outputs=outputs, groups=groups)

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        widths = {name: _extent_to_json(getattr(self, name)) for name in _WIDTHS}
        formats = {"when": [list(each) for each in self.when]} if self.when else {}
        return {"name": self.name, "layer": self.layer.to_json(), **widths, "blocks": list(self.blocks), **formats}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], space: SearchSpace) -> PricedOperator:
        """The inverse of `to_json`.

        Args:
            content: Of the file.
            space: The decisions on which the widths depend.

        Raises:
            InputError: If a number is no whole one from 0 up, or a decision is unknown.
        """
        widths = {name: _extent_from_json(content[name], space) for name in _WIDTHS}
        blocks = tuple(map(str, content.get("blocks", ())))
        when = tuple((str(name), whole(option, "an option")) for name, option in content.get("when", ()))
        return cls(str(content["name"]), Layer.from_json(content["layer"]), **widths, blocks=blocks, when=when)


@dataclass(frozen=True)
class OperatorPrice:
    """Kept units to milliseconds by look-up; picklable, vectorised.

    Attributes:
        scope: Names of the columns of the kept units.
        inputs: Input channels of the operator.
        outputs: Output channels of the operator.
        input_values: The tabulated input widths, ascending, shape (I,).
        output_values: The tabulated output widths, ascending, shape (O,).
        table: Corrected milliseconds, shape (I, O); NaN where a pair cannot occur.
        blocks: Names of the columns without which it costs nothing.
        when: Names of columns -> the option without which it costs nothing.
    """

    scope: tuple[str, ...]
    inputs: Extent
    outputs: Extent
    input_values: NDArray[np.int64]
    output_values: NDArray[np.int64]
    table: NDArray[np.float64]
    blocks: tuple[str, ...] = ()
    when: tuple[tuple[str, int], ...] = ()

    @classmethod
    def constant(cls, ms: float) -> OperatorPrice:
        """A price that no decision changes."""
        one = np.ones(1, dtype=np.int64)
        return cls((), _ONE, _ONE, one, one, np.array([[ms]]))

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept units, shape (n, len(scope)), to milliseconds, shape (n,). A width between two takes the next one."""
        rows = self._rows(self.input_values, self.inputs.columns(kept, self.scope))
        columns = self._rows(self.output_values, self.outputs.columns(kept, self.scope))
        prices: NDArray[np.float64] = self.table[rows, columns]
        for name in self.blocks:
            prices = np.where(kept[:, self.scope.index(name)] > 0, prices, 0.0)
        for name, option in self.when:
            prices = np.where(kept[:, self.scope.index(name)] == option, prices, 0.0)
        return prices

    @staticmethod
    def _rows(values: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.minimum(np.searchsorted(values, widths), len(values) - 1)
        return found.astype(np.int64)


def width_values(width: Extent, space: SearchSpace) -> tuple[int, ...]:
    """Every value of a width that the options of a space can produce, ascending."""
    reachable = {width.constant}
    for name, multiple in width.terms:
        steps = [multiple * option for option in space[name].options]
        reachable = {value + step for value in reachable for step in steps}
        if len(reachable) > _MOST_SUMS:
            ordered = sorted(reachable)
            picks = np.linspace(0, len(ordered) - 1, _MOST_SUMS).round().astype(int)
            reachable = {ordered[i] for i in picks}
    return tuple(sorted(reachable))


def _extent_to_json(extent: Extent) -> list[Any]:
    """[constant, [[decision, multiple], ...]]."""
    return [extent.constant, [list(term) for term in extent.terms]]


def _extent_from_json(content: Sequence[Any], space: SearchSpace) -> Extent:
    first, pairs = content
    constant = whole(first, "a width's constant")
    terms = tuple((str(name), whole(multiple, "a width's multiple")) for name, multiple in pairs)
    return Extent(constant, terms, constant + sum(multiple * space[name].width for name, multiple in terms))
