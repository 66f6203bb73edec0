"""Which modules' attributes and which written sizes count the units of a width, so that they follow the cut."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from autoprune.graph.coupling.atoms import Atoms, AtomTable
from autoprune.graph.coupling.flow import Flow, Result
from autoprune.graph.trace.size_origins import Origin, factors

__all__ = ["Counted", "Counts"]

Counted = list[tuple[Origin, Atoms]]
"""Origins of sizes, each with the atoms that it counts."""

_ARITHMETIC = {"product": operator.mul, "sum": operator.add, "difference": operator.sub}


@dataclass
class Counts:
    """What counts which atoms.

    Attributes:
        table: The walk's atoms.
        attributes: (module, attribute, atoms that it counts).
        calls: Number of a call -> its results.
    """

    table: AtomTable
    attributes: list[tuple[str, str, Atoms]] = field(default_factory=list)
    calls: dict[int, Result] = field(default_factory=dict)
    _counted: dict[tuple[str, str], Atoms] = field(default_factory=dict)
    _equal: list[tuple[Atoms, Atoms]] = field(default_factory=list)

    def add(self, origin: Origin | None, atoms: Atoms | None) -> None:
        """Note that a size of this origin counts these atoms: a module's attribute then follows the cut."""
        if origin is None or atoms is None:
            return
        if origin[0] == "attribute" and origin[3] == len(atoms):
            self._equal.append((self.counted(origin, atoms), atoms))
        elif origin[0] == "shape":
            source = self.width(origin)
            if source is not None and len(source) == len(atoms):
                self._equal.append((source, atoms))
        elif origin[0] == "product":
            _, first = np.unique(atoms, return_index=True)
            units = atoms[np.sort(first)]
            counting = [factor for factor in factors(origin) if self._counts(factor, len(units))]
            if len(units) < len(atoms) and len(counting) == 1:
                self.add(counting[0], units)

    def add_all(self, pairs: Iterable[tuple[Origin, Atoms]]) -> None:
        """Note that each of these origins counts its atoms."""
        for origin, atoms in pairs:
            self.add(origin, atoms)

    def parts(self, origin: Origin | int | None, part: Atoms, whole: Atoms, rest: Atoms) -> Counted | None:
        """What the attributes and shapes that a size is made of count of a part; None where it cannot follow a cut.

        Args:
            origin: The size's.
            part: The atoms that it counts now.
            whole: All atoms of the width.
            rest: Those that are not in the part.
        """
        if origin is None or isinstance(origin, int):
            return [] if origin is not None and len(part) == 0 else None
        if origin[0] in ("attribute", "shape"):
            return [(origin, part)] if self._counts(origin, len(part)) else None
        if origin[0] == "product":
            return self._repeated(origin, part)
        if origin[0] == "sum":
            first = self._value(origin[1])
            if first is None:
                return None
            return _both(
                self.parts(origin[1], part[:first], whole, rest), self.parts(origin[2], part[first:], whole, rest)
            )
        if origin[0] == "difference":
            all_of_it = [] if origin[1] == 0 else self.parts(origin[1], whole, whole, whole[:0])
            return _both(all_of_it, self.parts(origin[2], rest, whole, part))
        return None

    def _repeated(self, origin: Origin, part: Atoms) -> Counted | None:
        """A number times a size: as many parts behind each other, all counted by it."""
        counting, size = list(factors(origin)), self._value(origin)
        one = self._value(counting[0]) if len(counting) == 1 else None
        if not one or size != len(part) or not self._counts(counting[0], one):
            return None
        return [(counting[0], atoms) for atoms in part.reshape(-1, one)]

    def _value(self, origin: Origin | int) -> int | None:
        """What a size is in the dense network; None where not known."""
        if isinstance(origin, int):
            return origin
        if origin[0] == "attribute":
            return int(origin[3])
        if origin[0] == "shape":
            width = self.width(origin)
            return None if width is None else len(width)
        values = [self._value(factor) for factor in origin[1:]]
        known = [value for value in values if value is not None]
        if origin[0] not in _ARITHMETIC or len(known) < len(values):
            return None
        return reduce(_ARITHMETIC[origin[0]], known)

    def _counts(self, origin: Origin, size: int) -> bool:
        """Whether a size is an attribute or a width of this many units."""
        width = self.width(origin) if origin[0] == "shape" else None
        return len(width) == size if width is not None else origin[0] == "attribute" and origin[3] == size

    def width(self, origin: Origin) -> Atoms | None:
        """The atoms of the dimension that a size was read off."""
        _, call, place, axis = origin
        result = self.calls.get(call)
        flow = result if isinstance(result, Flow) else result[place] if result and place < len(result) else None
        return flow.dims[axis] if flow is not None and -len(flow.dims) <= axis < len(flow.dims) else None

    def is_counted(self, origin: Origin) -> bool:
        """Whether an attribute counts something already."""
        return origin[1:3] in self._counted

    def counted(self, origin: Origin, atoms: Atoms | None = None) -> Atoms:
        """The atoms that a module's attribute counts: those of its first use."""
        _, module, name, value = origin
        if (module, name) not in self._counted:
            self._counted[module, name] = self.table.fresh(value) if atoms is None else atoms
            self.attributes.append((module, name, self._counted[module, name]))
        return self._counted[module, name]

    def tie_equal_sizes(self) -> None:
        """Widths that one number counts shrink alike; the same units in another order do so anyhow."""
        label = self.table.solve().label
        for one, other in self._equal:
            if not np.array_equal(np.sort(label[one]), np.sort(label[other])):
                self.table.tie(one, other)


def _both(one: Counted | None, other: Counted | None) -> Counted | None:
    return None if one is None or other is None else [*one, *other]
