"""Where a model uses which layers: each cost-bearing operator with its widths as functions of the decisions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.hardware.contract.layer import Layer, whole
from autoprune.space import SearchSpace

__all__ = ["Form", "Slot", "SlotPrice"]

_MOST_SUMS = 4096  # distinct values of one width; beyond, a concat's sums are thinned


@dataclass(frozen=True)
class Form:
    """A width as a function of the kept units: constant + sum(multiple * kept[decision])."""

    constant: int
    terms: tuple[tuple[str, int], ...] = ()

    @property
    def scope(self) -> tuple[str, ...]:
        """The decisions it depends on."""
        return tuple(name for name, _ in self.terms)

    def __call__(self, kept: Mapping[str, int]) -> int:
        """The width under a full set of choices."""
        return self.constant + sum(multiple * kept[name] for name, multiple in self.terms)

    def columns(self, kept: NDArray[np.int64], scope: Sequence[str]) -> NDArray[np.int64]:
        """The widths of many policies.

        Args:
            kept: Kept units, shape (n, len(scope)).
            scope: Names of the columns; a superset of the form's own.

        Returns:
            Widths, shape (n,).
        """
        total = np.full(len(kept), self.constant, dtype=np.int64)
        for name, multiple in self.terms:
            total += multiple * kept[:, scope.index(name)]
        return total

    def values(self, space: SearchSpace) -> tuple[int, ...]:
        """Every value that the options can produce, ascending."""
        reachable = {self.constant}
        for name, multiple in self.terms:
            steps = [multiple * option for option in space[name].options]
            reachable = {value + step for value in reachable for step in steps}
            if len(reachable) > _MOST_SUMS:
                ordered = sorted(reachable)
                picks = np.linspace(0, len(ordered) - 1, _MOST_SUMS).round().astype(int)
                reachable = {ordered[i] for i in picks}
        return tuple(sorted(reachable))

    def to_json(self) -> list[Any]:
        """[constant, [[decision, multiple], ...]]."""
        return [self.constant, [list(term) for term in self.terms]]

    @classmethod
    def from_json(cls, content: Sequence[Any]) -> Form:
        """The inverse of `to_json`.

        Raises:
            InputError: If a number is no whole one from 0 up.
        """
        constant, terms = content
        return cls(
            whole(constant, "a width's constant"),
            tuple((str(name), whole(multiple, "a width's multiple")) for name, multiple in terms),
        )


@dataclass(frozen=True)
class Slot:
    """One operator of a model.

    Attributes:
        name: Qualified module name, for people.
        layer: The operator with nothing pruned.
        inputs: Its input channels.
        outputs: Its output channels.
        groups: Its groups, when it is a convolution.
        blocks: The decisions on blocks around it: it is executed while all of them are kept.
    """

    name: str
    layer: Layer
    inputs: Form
    outputs: Form
    groups: Form = Form(1)
    blocks: tuple[str, ...] = ()

    @property
    def scope(self) -> tuple[str, ...]:
        """The decisions that its price depends on, each once."""
        return tuple(dict.fromkeys((*self.inputs.scope, *self.outputs.scope, *self.blocks)))

    def runs(self, kept: Mapping[str, int]) -> bool:
        """Whether it is executed at all under a full set of choices."""
        return all(kept[name] for name in self.blocks)

    def at(self, kept: Mapping[str, int]) -> Layer:
        """The operator under a full set of choices."""
        return replace(self.layer, inputs=self.inputs(kept), outputs=self.outputs(kept), groups=self.groups(kept))

    def grid(self, space: SearchSpace) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The input widths and the output widths that the options can produce."""
        return self.inputs.values(space), self.outputs.values(space)

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
        forms = {name: getattr(self, name).to_json() for name in ("inputs", "outputs", "groups")}
        return {"name": self.name, "layer": self.layer.to_json(), **forms, "blocks": list(self.blocks)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Slot:
        """The inverse of `to_json`."""
        forms = {name: Form.from_json(content[name]) for name in ("inputs", "outputs", "groups")}
        blocks = tuple(map(str, content.get("blocks", ())))
        return cls(str(content["name"]), Layer.from_json(content["layer"]), **forms, blocks=blocks)


@dataclass(frozen=True)
class SlotPrice:
    """Kept units to milliseconds by look-up; picklable, vectorised.

    Attributes:
        scope: Names of the columns of the kept units.
        inputs: Input channels of the operator.
        outputs: Output channels of the operator.
        input_values: The tabulated input widths, ascending, shape (I,).
        output_values: The tabulated output widths, ascending, shape (O,).
        table: Corrected milliseconds, shape (I, O); NaN where a pair cannot occur.
        blocks: Names of the columns without which it costs nothing.
    """

    scope: tuple[str, ...]
    inputs: Form
    outputs: Form
    input_values: NDArray[np.int64]
    output_values: NDArray[np.int64]
    table: NDArray[np.float64]
    blocks: tuple[str, ...] = ()

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept units, shape (n, len(scope)), to milliseconds, shape (n,). A width between two takes the next one."""
        rows = self._rows(self.input_values, self.inputs.columns(kept, self.scope))
        columns = self._rows(self.output_values, self.outputs.columns(kept, self.scope))
        prices: NDArray[np.float64] = self.table[rows, columns]
        for name in self.blocks:
            prices = np.where(kept[:, self.scope.index(name)] > 0, prices, 0.0)
        return prices

    @staticmethod
    def _rows(values: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.minimum(np.searchsorted(values, widths), len(values) - 1)
        return found.astype(np.int64)
