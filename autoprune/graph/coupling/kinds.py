"""What kind of decision a group is: heads, head size, the hidden width of a perceptron, an embedding, or channels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from autoprune.graph.coupling.atoms import Atoms, Classes, partition
from autoprune.graph.coupling.flow import OpRecord
from autoprune.graph.coupling.walk import Walk

__all__ = ["Kinds"]


class Kinds:
    """Finds the kind of each class of a walk.

    "heads" and "head_size" are what the operators of attention say. "embedding" is a width that a LayerNorm or
    RMSNorm is taken over, or that an ``nn.Embedding`` makes, in a network that has attention. "ffn" is the width
    between two linear layers that start from and come back to one width. All others are "channels".
    """

    def __init__(self, walk: Walk, classes: Classes) -> None:
        self._classes = classes
        self._heads = self._classes_of(atoms for kind, atoms in walk.marks if kind == "heads")
        self._sizes = self._classes_of(atoms for kind, atoms in walk.marks if kind == "head_size")
        attends = any("attention" in str(op.node.target) for op in walk.ops) or bool(walk.marks)
        streams = [norm.atoms for norm in walk.norms if norm.sizes is not None or norm.axis == -1]
        streams += [atoms for kind, atoms in walk.marks if kind == "embedding"]
        self._streams = self._classes_of(streams if attends else ())
        self._hidden = self._perceptrons(walk)

    def of(self, labels: Atoms) -> str:
        """The kind of the group of these classes."""
        for kind, marked in (("heads", self._heads), ("head_size", self._sizes), ("embedding", self._streams)):
            if marked[labels].any():
                return kind
        return "ffn" if self._hidden[labels].all() else "channels"

    def _classes_of(self, lines: Iterable[Atoms]) -> NDArray[np.bool_]:
        marks = np.zeros(self._classes.count, np.bool_)
        for atoms in lines:
            marks[self._classes.label[atoms]] = True
        return marks

    def _perceptrons(self, walk: Walk) -> NDArray[np.bool_]:
        """Classes that only linear layers make and read, those that make them starting where those that read end."""
        label, count = self._classes.label, self._classes.count
        hidden, other = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        linear: list[tuple[Atoms, Atoms]] = []
        for op in walk.ops:
            source, target = _line(op, 0), _line(op, 1)
            if op.kind == "linear" and source is not None and target is not None:
                linear.append((np.unique(label[source]), np.unique(label[target])))
                continue
            for flow in op.params if op.kind in ("conv", "linear") else ():
                for atoms in flow.atoms():
                    other[label[atoms]] = True
        begun = partition(count, [made for _, made in linear])
        ended = partition(count, [read for read, _ in linear])
        parts = np.stack([begun, ended], axis=1)
        for makers, readers in np.unique(parts[(begun > 0) & ~other], axis=0).tolist():
            units = (begun == makers) & (ended == readers) & ~other
            one = int(np.flatnonzero(units)[0])
            starts = [read for read, made in linear if one in made]
            ends = [made for read, made in linear if one in read]
            hidden[units] = bool(ends) and np.array_equal(_union(starts), _union(ends))
        return hidden


def _union(lines: list[Atoms]) -> Atoms:
    return np.unique(np.concatenate(lines))


def _line(op: OpRecord, side: int) -> Atoms | None:
    flow = op.output if side else op.inputs[0] if op.inputs else None
    return flow.dims[-1] if flow is not None and flow.dims else None
