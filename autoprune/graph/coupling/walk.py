"""The walk over the exported graph: which atoms belong to which dimension of which tensor.

Every tensor is a ``Flow``: per dimension either the atoms of its positions, or None where nothing can ever be
removed (batch, height, width, a constant's size). Rules (one for each ATen operator, see ``rules/``)
turn the flows of an operator's inputs into the flow of its output, and tie or freeze atoms.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms, AtomTable
from autoprune.graph.coupling.counts import Counts
from autoprune.graph.coupling.flow import (
    Flow,
    Norm,
    OpRecord,
    Result,
    Slot,
    Statistic,
    Unknown,
    fixed,
    holder,
    shape_of,
)
from autoprune.graph.coupling.rule_table import bound, handles_figures, rule_of
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.size_origins import Origin, call_of
from autoprune.graph.trace.source_lines import where

__all__ = ["Walk"]


@dataclass
class Walk:
    """The state of one walk.

    Attributes:
        trace: What is walked over.
        interpretations: Ambiguous node -> which of its interpretations is to be taken; 0 where not given.
        table: Atoms, ties, freezes.
        slots: Dimensions of parameters and buffers, in order of first use.
        ops: Operators that cost something, in forward order.
        counts: Which attributes and sizes count which atoms.
        ambiguities: Node -> atoms that depend on which interpretation is taken there, and how many there are.
        marks: (kind of decision, atoms) where an operator shows what a width is.
        norms: Operators whose figures are taken over a width that may shrink.
        scaled: Figures over a width, each with the atoms that it scales: the same units, or it leaks.
    """

    trace: Trace
    interpretations: Mapping[str, int] = field(default_factory=dict)
    table: AtomTable = field(default_factory=AtomTable)
    slots: list[Slot] = field(default_factory=list)
    ops: list[OpRecord] = field(default_factory=list)
    ambiguities: dict[str, tuple[Atoms, int]] = field(default_factory=dict)
    marks: list[tuple[str, Atoms]] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    scaled: list[tuple[Statistic, Atoms]] = field(default_factory=list)
    counts: Counts = field(init=False)
    _results: dict[Node, Result] = field(default_factory=dict)
    _tensors: dict[str, Flow] = field(default_factory=dict)
    _fed: set[Node] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.counts = Counts(self.table)

    def run(self) -> Walk:
        """Walk the whole graph."""
        for node in self.trace.graph.nodes:
            self._note_fed(node)
            if node.op == "placeholder":
                self._results[node] = self._placeholder(node)
            elif node.op == "output":
                self.freeze_all(_tensors_in(self, node.args), "model output")
                self.leak(_tensors_in(self, node.args))
            else:
                self._results[node] = self._call(node)
                if node.target is not operator.getitem and (call := call_of(node)) is not None:
                    self.counts.calls[call] = self._results[node]
        for pair in self.trace.compared:
            for one, other in (pair, pair[::-1]):
                if one[0] == "attribute" and other[0] == "shape":
                    self.counts.add(one, self.counts.width(other))
        self.counts.tie_equal_sizes()
        return self

    def flow(self, value: Any) -> Flow | None:
        """The flow of a node's (single) result; None for anything that is not a tensor."""
        result = self._results.get(value) if isinstance(value, Node) else None
        return result if isinstance(result, Flow) else None

    def need(self, value: Any) -> Flow:
        """The flow of an argument that must be a tensor."""
        flow = self.flow(value)
        if flow is None:
            raise Unknown
        return flow

    def results(self, value: Any) -> Result:
        """All results of a node."""
        return self._results.get(value)

    def tie(self, one: Atoms | None, other: Atoms | None, node: Node) -> Atoms | None:
        """Tie two dimensions of equal size; a fixed one freezes the other. Returns the one to go on with."""
        if one is None or other is None:
            atoms = other if one is None else one
            if atoms is not None:
                self.table.freeze(atoms, f"meets a tensor of fixed width in {where(node)}")
            return None
        self.table.tie(one, other)
        return one

    def multiply(
        self,
        node: Node,
        pairs: Iterable[tuple[Atoms | None, Atoms | None]],
        made: Atoms | None,
        bias: Flow | None,
        *,
        owned: bool = True,
    ) -> None:
        """A parameter's columns read an input's units and its rows make new ones, to which the bias belongs.

        Args:
            node: The product.
            pairs: Each input's units and the columns that read them.
            made: The rows.
            bias: One number a row, if there is one.
            owned: Whether the rows are a parameter's (and not computed from an input, or fixed).
        """
        for units, columns in pairs:
            self.tie(units, columns, node)
            self.table.read(columns)
        self.table.made(made if owned else None)
        if bias is not None:
            self.tie(made, bias.dims[0], node)

    def freeze(self, atoms: Atoms | None, node: Node, what: str = "touched by") -> None:
        """Freeze one dimension, naming the operator and the user's line."""
        if atoms is not None:
            self.table.freeze(atoms, f"{what} {where(node)}")

    def freeze_all(self, flows: Iterable[Flow], reason: str) -> None:
        """Freeze every dimension of these tensors."""
        for flow in flows:
            for atoms in flow.atoms():
                self.table.freeze(atoms, reason)

    def leak(self, flows: Iterable[Flow]) -> None:
        """Freeze the widths whose figures these tensors hold."""
        for flow in flows:
            for figure in flow.over:
                self.freeze(figure.atoms, figure.node, "summed over by")

    def choose_interpretation(self, node: Node, atoms: Atoms, count: int = 2) -> int:
        """Note that ``node`` is ambiguous, with ``count`` interpretations; returns the one to be taken."""
        self.ambiguities[node.name] = (atoms, count)
        return self.interpretations.get(node.name, 0)

    def mark(self, kind: str, atoms: Atoms | None) -> None:
        """Note what kind of decision a width is."""
        if atoms is not None:
            self.marks.append((kind, atoms))

    def elastic(self, node: Node, size: int, origin: Origin | None, *, repeats: bool = False) -> Atoms | None:
        """A dimension whose size the code gives: from another tensor's shape, so that it follows, or as a number.

        Where the trace does not tell, the first is tried, and a proof that fails decides for the second (None).
        Repeating something as often as an attribute says (the heads of keys for those of queries) makes no width.
        """
        if origin is None and self.trace.module_of(node) is None:
            return None  # a number in the user's own code
        if origin is not None and origin[0] == "attribute":
            fits = origin[3] == size and (not repeats or self.counts.is_counted(origin))
            return self.counts.counted(origin) if fits else None
        if origin is not None and origin[0] == "shape":
            return self.counts.width(origin)
        atoms = self.table.fresh(size)
        known = self.ambiguities[node.name][0] if node.name in self.ambiguities else atoms[:0]
        return None if self.choose_interpretation(node, np.concatenate([known, atoms])) else atoms

    def record(
        self,
        node: Node,
        kind: str,
        inputs: Iterable[Flow | None],
        output: Flow,
        params: Iterable[Flow | None] = (),
        **settings: Any,
    ) -> Flow:
        """List an operator; returns ``output``. A weight that is computed from parameters alone is not listed."""
        tensors = tuple(flow for flow in params if flow is not None)
        if not tensors and (weight := self.as_weight(node, output, inputs)) is not None:
            return weight
        self.ops.append(
            OpRecord(
                node=node,
                name=self.owner(node, tensors),
                kind=kind,
                inputs=tuple(flow for flow in inputs if flow is not None),
                output=output,
                params=tensors,
                settings=settings,
            )
        )
        return output

    def as_weight(self, node: Node, output: Flow, parts: Iterable[Flow | None]) -> Flow | None:
        """The output as a weight that goes by its first parameter's name; None where an input reaches it."""
        names = (flow.tensor for flow in parts if flow is not None and flow.tensor is not None)
        name = None if node in self._fed else next(names, None)
        return None if name is None else replace(output, tensor=name)

    def share(self, node: Node, whole: Flow, parts: Iterable[Flow], *, made: bool = True) -> None:
        """Parameters of which one weight is made: what reads the weight's units reads those of all of them.

        So a weight's columns are silenced in all that they are computed from; where that does not make them 0 (`exp`),
        the proof finds out.
        """
        for part in parts if node not in self._fed else ():
            self._note_part(part)
            for back in range(-min(len(part.shape), len(whole.shape)), 0):
                one, other = whole.dims[back], part.dims[back]
                if one is not None and other is not None and one is not other and len(one) == len(other):
                    self.table.share(one, other, made=made)

    def _note_part(self, part: Flow) -> None:
        """Note what the attributes of the layer that holds a part count, as no operator is that layer.

        Names that it does not have, or that count something else, are left out in the end.
        """
        if part.tensor is None:
            return
        names = (("out_channels", "out_features", "num_features"), ("in_channels", "in_features"))
        for atoms, counted in zip(self._tensors[part.tensor].dims, names, strict=False):
            if atoms is not None:
                self.counts.attributes += [(holder(part.tensor), name, atoms) for name in counted]

    def owner(self, node: Node, params: tuple[Flow, ...] = ()) -> str:
        """Qualified name of the module that is this operator, else the node's name."""
        module = self.trace.module_of(node)
        if module is None and params and params[0].tensor is not None:
            module = holder(params[0].tensor)
        return module or node.name

    def note_attributes(self, node: Node, params: Iterable[Flow | None], **counted: Atoms | None) -> None:
        """Note which atoms a layer's attributes count.

        Args:
            node: The operator that the layer is.
            params: Its parameters.
            counted: Name of an attribute -> the atoms; None where nothing of it can shrink.
        """
        owner = self.owner(node, tuple(flow for flow in params if flow is not None))
        self.counts.attributes += [(owner, name, atoms) for name, atoms in counted.items() if atoms is not None]

    def _note_fed(self, node: Node) -> None:
        """Remember whether a value depends on the model's input, and not only on parameters and constants."""
        if node.op == "placeholder":
            is_fed = node.name not in self.trace.tensors and node.name not in self.trace.constants
        else:
            is_fed = any(source in self._fed for source in node.all_input_nodes)
        schema = getattr(node.target, "_schema", None)
        while is_fed and isinstance(
            node, Node
        ):  # what is written to in place, through views, depends on it from now on
            self._fed.add(node)
            node = node.args[0] if schema is not None and schema.is_mutable and node.args else None  # type: ignore[assignment]

    def _placeholder(self, node: Node) -> Result:
        shape = shape_of(node)
        if shape is None:
            return None
        name = self.trace.tensors.get(node.name)
        if name is None:
            return Flow(shape, (None,) * len(shape))
        if name not in self._tensors:
            dims = tuple(self.table.fresh(size) if size > 1 else None for size in shape)
            self._tensors[name] = Flow(shape, dims, name)
            self.slots += [Slot(name, dim, atoms) for dim, atoms in enumerate(dims) if atoms is not None]
        return self._tensors[name]

    def _call(self, node: Node) -> Result:
        if node.target is operator.getitem:
            whole = self._results.get(node.args[0]) if isinstance(node.args[0], Node) else None
            return whole[node.args[1]] if isinstance(whole, tuple) and isinstance(node.args[1], int) else None
        found = rule_of(node)
        if not handles_figures(found):
            self.leak(_tensors_in(self, [node.args, node.kwargs]))
        if found is not None:
            try:
                return found(self, node, bound(node))
            except Unknown:
                pass
        return self.unknown(node)

    def unknown(self, node: Node) -> Result:
        """Freeze whatever an operator without a rule touches."""
        self.freeze_all(_tensors_in(self, [node.args, node.kwargs]), f"touched by {where(node)}")
        output = fixed(node)
        first = output[0] if isinstance(output, tuple) and output else output
        flows = _tensors_in(self, [node.args, node.kwargs])
        if isinstance(first, Flow) and flows:
            self.record(
                node,
                "other",
                [f for f in flows if f.tensor is None],
                first,
                [f for f in flows if f.tensor is not None],
            )
        return output


def _tensors_in(walk: Walk, arguments: Any) -> list[Flow]:
    """All flows anywhere in (nested) arguments."""
    if isinstance(arguments, Node):
        result = walk.results(arguments)
        return list(result) if isinstance(result, tuple) else [result] if result is not None else []
    if isinstance(arguments, Mapping):
        arguments = arguments.values()
    elif not isinstance(arguments, list | tuple):
        return []
    return [flow for part in arguments for flow in _tensors_in(walk, part)]
