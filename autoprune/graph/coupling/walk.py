"""The walk over the exported graph: which atoms stand on which dimension of which tensor.

Every tensor is a ``Flow``: per dimension either the atoms of its positions, or None where nothing can ever be
removed (batch, height, width, a constant's size). Rules (one for each ATen operator, see the ``rules_*``
modules) turn the flows of an operator's inputs into the flow of its output, and tie or freeze atoms.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms, AtomTable
from autoprune.graph.coupling.flow import Flow, Norm, Result, Slot, Statistic, Unknown, fixed, holder, shape_of
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.size_origins import Origin, call_of, factors
from autoprune.graph.trace.source_lines import where

__all__ = ["RULES", "OpRecord", "Rule", "Walk", "bound", "rule"]


@dataclass(frozen=True, eq=False)
class OpRecord:
    """An operator that costs something, with the flows it read and made."""

    node: Node
    name: str
    kind: str
    inputs: tuple[Flow, ...]
    output: Flow
    params: tuple[Flow, ...]
    settings: Mapping[str, Any]


Rule = Callable[["Walk", Node, dict[str, Any]], Result]
RULES: dict[str, Rule] = {}
_PASS_FIGURES: set[Rule] = set()


def rule(*names: str, figures: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operators by base name; in-place forms (``relu_``) share it.

    Args:
        names: The operators.
        figures: Whether the rule knows what to do with figures over a width (``Flow.over``). Elsewhere they leak:
            something other than their own width depends on them, so that width has to stay.
    """

    def register(function: Rule) -> Rule:
        if figures:
            _PASS_FIGURES.add(function)
        for name in names:
            RULES[name] = function
        return function

    return register


@dataclass
class Walk:
    """The state of one walk.

    Attributes:
        trace: What is walked over.
        readings: Node that can be read in several ways -> which of them is to be taken; 0 where not given.
        table: Atoms, ties, freezes.
        slots: Dimensions of parameters and buffers, in order of first use.
        ops: Operators that cost something, in forward order.
        attributes: (module, attribute, atoms that it counts).
        forks: Node -> atoms that depend on which reading is taken there, and how many there are.
        marks: (kind of decision, atoms) where an operator tells what a width is.
        norms: Operators whose figures are taken over a width that may shrink.
        scaled: Figures over a width, each with the atoms that it scales: the same units, or it leaks.
    """

    trace: Trace
    readings: Mapping[str, int] = field(default_factory=dict)
    table: AtomTable = field(default_factory=AtomTable)
    slots: list[Slot] = field(default_factory=list)
    ops: list[OpRecord] = field(default_factory=list)
    attributes: list[tuple[str, str, Atoms]] = field(default_factory=list)
    forks: dict[str, tuple[Atoms, int]] = field(default_factory=dict)
    marks: list[tuple[str, Atoms]] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    scaled: list[tuple[Statistic, Atoms]] = field(default_factory=list)
    _counted: dict[tuple[str, str], Atoms] = field(default_factory=dict)
    _calls: dict[int, Result] = field(default_factory=dict)
    _equal: list[tuple[Atoms, Atoms]] = field(default_factory=list)
    _results: dict[Node, Result] = field(default_factory=dict)
    _tensors: dict[str, Flow] = field(default_factory=dict)

    def run(self) -> Walk:
        """Walk the whole graph."""
        for node in self.trace.graph.nodes:
            if node.op == "placeholder":
                self._results[node] = self._placeholder(node)
            elif node.op == "output":
                self.freeze_all(_tensors_in(self, node.args), "model output")
                self.leak(_tensors_in(self, node.args))
            else:
                self._results[node] = self._call(node)
                if node.target is not operator.getitem and (call := call_of(node)) is not None:
                    self._calls[call] = self._results[node]
        for pair in self.trace.compared:
            for one, other in (pair, pair[::-1]):
                if one[0] == "attribute" and other[0] == "shape":
                    self.count(one, self._width(other))
        self._tie_equal_sizes()
        return self

    def _tie_equal_sizes(self) -> None:
        """Widths that one number counts shrink alike; the same units in another order do so anyhow."""
        label = self.table.solve().label
        for one, other in self._equal:
            if not np.array_equal(np.sort(label[one]), np.sort(label[other])):
                self.table.tie(one, other)

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
        self, node: Node, pairs: Iterable[tuple[Atoms | None, Atoms | None]], made: Atoms | None, bias: Flow | None
    ) -> None:
        """A parameter's columns read an input's units and its rows make new ones, to which the bias belongs.

        Args:
            node: The product.
            pairs: Each input's units and the columns that read them.
            made: The rows.
            bias: One number a row, if there is one.
        """
        for units, columns in pairs:
            self.tie(units, columns, node)
            self.table.read(columns)
        self.table.made(made)
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

    def fork(self, node: Node, atoms: Atoms, count: int = 2) -> int:
        """Note that ``node`` can be read in ``count`` ways; the one to be taken."""
        self.forks[node.name] = (atoms, count)
        return self.readings.get(node.name, 0)

    def mark(self, kind: str, atoms: Atoms | None) -> None:
        """Note what kind of decision a width is."""
        if atoms is not None:
            self.marks.append((kind, atoms))

    def count(self, origin: Origin | None, atoms: Atoms | None) -> None:
        """Note that a size of this origin counts these atoms: a module's attribute then follows the cut."""
        if origin is None or atoms is None:
            return
        if origin[0] == "attribute" and origin[3] == len(atoms):
            self._equal.append((self.counted(origin, atoms), atoms))
        elif origin[0] == "shape":
            source = self._width(origin)
            if source is not None and len(source) == len(atoms):
                self._equal.append((source, atoms))
        elif origin[0] == "product":
            _, first = np.unique(atoms, return_index=True)
            units = atoms[np.sort(first)]
            counting = [factor for factor in factors(origin) if self._counts(factor, len(units))]
            if len(units) < len(atoms) and len(counting) == 1:
                self.count(counting[0], units)

    def _counts(self, origin: Origin, size: int) -> bool:
        """Whether a size is an attribute or a width of this many units."""
        width = self._width(origin) if origin[0] == "shape" else None
        return len(width) == size if width is not None else origin[0] == "attribute" and origin[3] == size

    def _width(self, origin: Origin) -> Atoms | None:
        """The atoms of the dimension that a size was read off."""
        _, call, place, axis = origin
        result = self._calls.get(call)
        flow = result if isinstance(result, Flow) else result[place] if result and place < len(result) else None
        return flow.dims[axis] if flow is not None and -len(flow.dims) <= axis < len(flow.dims) else None

    def counted(self, origin: Origin, atoms: Atoms | None = None) -> Atoms:
        """The atoms that a module's attribute counts: those of its first use."""
        _, module, name, value = origin
        if (module, name) not in self._counted:
            self._counted[module, name] = self.table.fresh(value) if atoms is None else atoms
            self.attributes.append((module, name, self._counted[module, name]))
        return self._counted[module, name]

    def elastic(self, node: Node, size: int, origin: Origin | None, *, repeats: bool = False) -> Atoms | None:
        """A dimension whose size the code gives: from another tensor's shape, so that it follows, or as a number.

        Where the trace does not tell, the first is tried, and a proof that fails decides for the second (None).
        Repeating something as often as an attribute says (the heads of keys for those of queries) makes no width.
        """
        if origin is None and self.trace.module_of(node) is None:
            return None  # a number in the user's own code
        if origin is not None and origin[0] == "attribute":
            fits = origin[3] == size and (not repeats or origin[1:3] in self._counted)
            return self.counted(origin) if fits else None
        if origin is not None and origin[0] == "shape":
            return self._width(origin)
        atoms = self.table.fresh(size)
        known = self.forks[node.name][0] if node.name in self.forks else atoms[:0]
        return None if self.fork(node, np.concatenate([known, atoms])) else atoms

    def record(
        self,
        node: Node,
        kind: str,
        inputs: Iterable[Flow | None],
        output: Flow,
        params: Iterable[Flow | None] = (),
        **settings: Any,
    ) -> Flow:
        """List an operator; returns ``output``."""
        tensors = tuple(flow for flow in params if flow is not None)
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

    def owner(self, node: Node, params: tuple[Flow, ...] = ()) -> str:
        """Qualified name of the module that is this operator, else the node's name."""
        module = self.trace.module_of(node)
        if module is None and params and params[0].tensor is not None:
            module = holder(params[0].tensor)
        return module or node.name

    def attribute(self, node: Node, params: tuple[Flow | None, ...], name: str, atoms: Atoms | None) -> None:
        """Note that a module's attribute counts these atoms."""
        if atoms is not None:
            given = tuple(flow for flow in params if flow is not None)
            self.attributes.append((self.owner(node, given), name, atoms))

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
        schema = getattr(node.target, "_schema", None)
        found = RULES.get(schema.name.removeprefix("aten::").removesuffix("_")) if schema is not None else None
        if found not in _PASS_FIGURES:
            self.leak(_tensors_in(self, [node.args, node.kwargs]))
        if found is not None:
            try:
                return found(self, node, bound(node, schema))
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


def bound(node: Node, schema: Any) -> dict[str, Any]:
    """The arguments of a call by the schema's names, defaults filled in."""
    values = {argument.name: argument.default_value for argument in schema.arguments}
    values.update({argument.name: value for argument, value in zip(schema.arguments, node.args, strict=False)})
    values.update(node.kwargs)
    return values


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
