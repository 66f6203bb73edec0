"""Which modules' attributes and which written sizes count the units of a width, so that they follow the cut."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from autoprune.graph.coupling.atoms import Atoms, AtomTable
from autoprune.graph.coupling.flow import Flow, Result
from autoprune.graph.trace.size_origins import Origin, factors

__all__ = ["Counts"]


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
