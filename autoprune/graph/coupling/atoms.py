"""Atoms: one for every index of every parameter dimension; ties between them make the coupled classes.

The walk over the graph only appends ties and freezes as whole arrays; the classes are found once at the end as
the connected components of a sparse graph, so nothing here loops over atoms in Python.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["AtomTable", "Atoms", "Classes", "partition"]

Atoms = NDArray[np.int64]


class AtomTable:
    """Hands out atoms and remembers what ties them, freezes them, makes them and reads them."""

    def __init__(self) -> None:
        self.count = 0
        self._ties: list[tuple[Atoms, Atoms]] = []
        self._frozen: list[tuple[Atoms, str]] = []
        self._made: list[Atoms] = []
        self._read: list[Atoms] = []
        self._contracted: list[Atoms] = []
        self._shared: list[tuple[Atoms, Atoms, bool]] = []

    def fresh(self, size: int) -> Atoms:
        """``size`` new atoms."""
        atoms = np.arange(self.count, self.count + size, dtype=np.int64)
        self.count += size
        return atoms

    def constant(self, size: int, reason: str) -> Atoms:
        """``size`` new atoms that can never be removed."""
        atoms = self.fresh(size)
        self.freeze(atoms, reason)
        return atoms

    def tie(self, one: Atoms, other: Atoms) -> None:
        """Atoms at equal places live and die together."""
        if one is not other:
            self._ties.append((one, other))

    def freeze(self, atoms: Atoms, reason: str) -> None:
        """These, and all that is tied to them, stay; the first reason given wins."""
        self._frozen.append((atoms, reason))

    def made(self, atoms: Atoms | None) -> None:
        """A layer's parameter makes these units (its output rows)."""
        if atoms is not None:
            self._made.append(atoms)

    def contract(self, atoms: Atoms) -> None:
        """A product of two activations sums over these units."""
        self._contracted.append(atoms)

    def read(self, atoms: Atoms | None) -> None:
        """A layer's parameter reads these units and sums over them (its input columns)."""
        if atoms is not None:
            self._read.append(atoms)

    def share(self, one: Atoms, other: Atoms, *, made: bool) -> None:
        """Two parameters are parts of one weight, which goes on as the first: who reads that one reads the other, too.

        Args:
            one: Units of the first.
            other: The same units of the other.
            made: Whether both make the units (a sum), or the other only scales what the first makes (a product).
        """
        self._shared.append((one, other, made))

    def solve(self) -> Classes:
        """The classes that the ties so far make."""
        marks = {"made": _marked(self.count, self._made), "read": _marked(self.count, self._read)}
        for one, other, made in reversed(self._shared):  # backwards: a part may itself be made of parts
            for kind in ("made", "read") if made else ("read",):
                marks[kind][other] |= marks[kind][one]
        return Classes(self.count, self._ties, self._frozen, **marks, contracted=_marked(self.count, self._contracted))


class Classes:
    """The coupled classes of atoms.

    Attributes:
        label: (atoms,) class of each atom.
        frozen: (classes,) whether something in the class can never be removed.
        made: (atoms,) whether the atom is an output row of a layer.
        read: (atoms,) whether the atom is an input column of a layer.
        contracted: (atoms,) whether a product of two activations sums over the atom.
        least: (classes,) the fewest units that a group of the class may keep.
    """

    def __init__(
        self,
        count: int,
        ties: list[tuple[Atoms, Atoms]],
        frozen: list[tuple[Atoms, str]],
        made: NDArray[np.bool_],
        read: NDArray[np.bool_],
        contracted: NDArray[np.bool_],
    ) -> None:
        rows = np.concatenate([one for one, _ in ties] or [np.zeros(0, np.int64)])
        columns = np.concatenate([other for _, other in ties] or [np.zeros(0, np.int64)])
        graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
        self.count, labels = connected_components(graph, directed=False)
        self.label: Atoms = labels.astype(np.int64)
        self.least: Atoms = np.ones(self.count, np.int64)
        self._reason: Atoms = np.full(self.count, -1, np.int64)
        self._reasons = [reason for _, reason in frozen]
        for index in range(len(frozen) - 1, -1, -1):  # backwards, so that the first reason is what stays
            self._reason[self.label[frozen[index][0]]] = index
        self.made, self.read, self.contracted = made, read, contracted

    @property
    def frozen(self) -> NDArray[np.bool_]:
        """(classes,) whether the class can never be removed."""
        return self._reason >= 0

    def reason(self, label: int) -> str | None:
        """Why a class is frozen; None if it is not."""
        index = int(self._reason[label])
        return None if index < 0 else self._reasons[index]

    def freeze(self, labels: Atoms, reason: str) -> None:
        """Freeze classes that are not frozen yet."""
        free = labels[self._reason[labels] < 0]
        self._reason[free] = len(self._reasons)
        self._reasons.append(reason)


def _marked(count: int, arrays: list[Atoms]) -> NDArray[np.bool_]:
    marks = np.zeros(count, np.bool_)
    for atoms in arrays:
        marks[atoms] = True
    return marks


def partition(count: int, lines: Iterable[Atoms]) -> Atoms:
    """Part the classes by the lines that they lie in, and how often.

    A few numbers a class, whatever the number of lines: sets of lines for each class took gigabytes for large networks.

    Args:
        count: How many classes there are.
        lines: Labels of classes, any number of times each.

    Returns:
        (count,) a number that two classes share where they lie in the same lines equally often; 0 where in none.
    """
    part = np.zeros(count, np.int64)
    parts = 1
    for line in lines:
        labels, times = np.unique(line, return_counts=True)
        _, refined = np.unique(part[labels] * (times.max(initial=0) + 1) + times, return_inverse=True)
        part[labels] = parts + refined
        parts += len(labels)
    return part
