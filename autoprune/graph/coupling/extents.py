"""From atoms to sizes: every dimension as a function of the groups' widths, and why the others stay."""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from autoprune.graph.analysis import Extent, Op, Shape
from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, OpRecord, holder
from autoprune.graph.coupling.groups import Grouping
from autoprune.graph.coupling.weights import weight_dims
from autoprune.graph.trace.source_lines import where

__all__ = ["Extents"]


class Extents:
    """Sizes of dimensions as functions of the groups' widths.

    Args:
        grouping: The groups.
    """

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._label = grouping.classes.label
        self._groups = grouping.groups
        self._group = np.full(grouping.classes.count, -1, np.int64)
        for index, labels in enumerate(grouping.labels):
            self._group[labels] = index
        self._slots = {(slot.tensor, slot.dim): slot.atoms for slot in grouping.walk.slots}
        self._batch = grouping.walk.trace.batch
        self._known: dict[int, Extent | int] = {}

    def of(self, atoms: Atoms | None, size: int) -> Extent | int:
        """The size of one dimension."""
        if atoms is None:
            return size
        known = self._known.get(id(atoms))
        if known is None:
            known = self._known[id(atoms)] = self._count(atoms)
        return known

    def _count(self, atoms: Atoms) -> Extent | int:
        counts = np.bincount(self._group[self._label[atoms]] + 1, minlength=1)
        found = np.flatnonzero(counts[1:])
        if not len(found):
            return len(atoms)
        terms = tuple((self._groups[g].name, int(counts[g + 1]) // self._groups[g].width) for g in found)
        return Extent(int(counts[0]), terms, len(atoms))

    def shape(self, flow: Flow) -> Shape:
        """The shape of a parameter, or of an activation at batch size 1.

        The batch is the first dimension or folded into it; `nn.MultiheadAttention` has it second, behind the positions.
        """
        sizes = list(flow.shape)
        for axis in range(min(2, len(sizes) - 1) or len(sizes)) if flow.tensor is None else ():
            if flow.dims[axis] is None and sizes[axis] % self._batch == 0:
                sizes[axis] //= self._batch
                break
        return tuple(self.of(atoms, size) for atoms, size in zip(flow.dims, sizes, strict=True))

    def result(self, node: Node) -> tuple[tuple[Extent | int, bool], ...] | None:
        """Per dimension of an operator's one result its traced size, and whether it is a width; None without one."""
        flow = self._grouping.walk.flow(node)
        if flow is None:
            return None
        return tuple(
            (self.of(atoms, size), atoms is not None) for atoms, size in zip(flow.dims, flow.shape, strict=True)
        )

    def tensor(self, name: str, shape: tuple[int, ...]) -> Shape:
        """The shape of a parameter by its name."""
        return tuple(self.of(self._slots.get((name, dim)), size) for dim, size in enumerate(shape))

    def op(self, record: OpRecord) -> Op:
        """An operator with its shapes."""
        settings = dict(record.settings)
        if isinstance(groups := settings.get("groups"), np.ndarray):
            settings["groups"] = self.of(groups, len(groups))
        return Op(
            name=record.name,
            node=record.node.name,
            kind=record.kind,
            operator=str(record.node.target),
            inputs=tuple(map(self.shape, record.inputs)),
            output=self.shape(record.output),
            params=tuple(map(self.shape, record.params)),
            tensors=tuple(flow.tensor for flow in record.params),
            weight_dims=weight_dims(record, self._grouping.walk.trace.tensors),
            called=self._grouping.walk.trace.module_of(record.node) is not None,
            **settings,
        )

    def frozen(self) -> dict[str, str]:
        """Module -> why its output rows, or some of them, cannot be pruned."""
        found: dict[str, str] = {}
        for op in self._grouping.walk.ops:
            for flow in op.params:
                for atoms in flow.atoms():
                    self._explain(atoms, flow.tensor or where(op.node), found)
        self._explain_unread(found)
        return found

    def _explain_unread(self, found: dict[str, str]) -> None:
        """Weights that no known operator reads as they are: parametrised ones, those of operators without a rule."""
        classes, walk = self._grouping.classes, self._grouping.walk
        passed = {flow.tensor for op in walk.ops if op.kind == "depthwise" for flow in op.params}
        used = {
            walk.trace.tensors.get(node.name) for node in walk.trace.graph.find_nodes(op="placeholder") if node.users
        }
        for (name, dim), atoms in self._slots.items():
            labels = classes.label[atoms]
            is_weight = name in walk.trace.parameters & used and (name, 1 - dim) in self._slots and name not in passed
            is_known = (self._group[labels] >= 0).any() or classes.made[atoms].any() or classes.read[atoms].any()
            if dim == 0 and is_weight and not is_known:
                reason = classes.reason(int(labels[0])) or "not understood"
                is_computed = ".parametrizations." in name
                found.setdefault(holder(name) or name, f"its weight is computed: {reason}" if is_computed else reason)

    def _explain(self, atoms: Atoms, tensor: str, found: dict[str, str]) -> None:
        classes = self._grouping.classes
        labels = classes.label[atoms]
        stuck = labels[classes.made[atoms] & (self._group[labels] < 0)]
        if not len(stuck):
            return
        reason = classes.reason(int(stuck[0])) or "not understood"
        if len(stuck) < len(atoms):
            reason = f"{len(stuck)} of its {len(atoms)} units: {reason}"
        found.setdefault(holder(tensor) or tensor, reason)
