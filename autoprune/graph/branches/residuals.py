"""The residual sums of a traced graph: a value and something that is computed from it alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from torch import nn
from torch.fx import Node

from autoprune.graph.branches.zeros import FREE
from autoprune.graph.coupling.flow import shape_of
from autoprune.graph.coupling.rule_table import base_name
from autoprune.graph.trace.export import Trace

__all__ = ["Branch", "ResidualGraph"]


@dataclass(frozen=True, eq=False)
class Branch:
    """add = shortcut + result, and all that is computed for the result alone."""

    add: Node
    shortcut: Node
    result: Node
    inside: frozenset[Node]

    @property
    def calls(self) -> frozenset[Node]:
        """The operators among what is inside."""
        return frozenset(node for node in self.inside if node.op == "call_function")


class ResidualGraph:
    """A traced graph, with what each module computes in it.

    Args:
        model: The model that was traced.
        traced: Its graph.

    Attributes:
        traced: The graph.
        modules: Qualified name -> module, all names of a module that has several.
        place: Node -> its place in forward order.
        readers: Node -> the live operators that read it.
        nodes: Qualified name of a module -> the operators that run in it.
        stack: Operator -> the modules that it runs in, outermost first.
    """

    def __init__(self, model: nn.Module, traced: Trace) -> None:
        self.traced = traced
        self._first = {id(module): name for name, module in reversed(list(model.named_modules()))}
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.place = {node: place for place, node in enumerate(traced.graph.nodes)}
        self.readers = _live_readers(traced)
        self._holders: dict[str, list[Node]] = defaultdict(list)
        for node in traced.graph.find_nodes(op="placeholder"):
            self._holders[traced.tensors.get(node.name, "")].append(node)
        self.nodes: dict[str, set[Node]] = defaultdict(set)
        self.stack: dict[Node, list[str]] = {}
        for node in traced.graph.nodes:
            if node.op == "call_function" and node in self.readers:
                self.stack[node] = self._callers(node)
                for module in self.stack[node]:
                    self.nodes[module].add(node)

    def _callers(self, node: Node) -> list[str]:
        """The modules that this operator runs in, outermost first; the model itself is left out."""
        stack = node.meta.get("nn_module_stack") or {}
        paths = [str(entry[0]).removeprefix("model").removeprefix(".") for entry in stack.values()]
        return [self._first[id(self.modules[path])] for path in paths if path and path in self.modules]

    def branches(self) -> list[Branch]:
        """Every sum of a value and something that is computed from it alone, in forward order."""
        found = []
        for add in self.traced.graph.nodes:
            if base_name(add) != "add" or add not in self.readers or len(add.args) < 2:
                continue
            one, other = add.args[:2]
            sides = [side for side in (one, other) if isinstance(side, Node) and shape_of(side) == shape_of(add)]
            if len(sides) < 2 or sides[0] is sides[1] or add.kwargs.get("alpha", 1) != 1:
                continue
            pairs = ((sides[0], sides[1]), (sides[1], sides[0]))
            found += [b for b in (self._branch(add, shortcut, result) for shortcut, result in pairs) if b is not None]
        return found

    def _branch(self, add: Node, shortcut: Node, result: Node) -> Branch | None:
        stream = self._stream(shortcut)
        if result in stream:
            return None
        inside: set[Node] = set()
        pending = [result]
        while pending:
            node = pending.pop()
            allowed = {add} if node is result else inside
            if node in inside or not self.readers.get(node, set()) <= allowed:
                continue
            inside.add(node)
            pending += node.all_input_nodes  # looked at again by every reader: the last one lets it in
        sources = {source for node in inside for source in node.all_input_nodes}
        holds = any(self.traced.tensors.get(node.name) in self.traced.parameters for node in sources)
        if holds and self._reaches(stream, sources - inside):
            return Branch(add, shortcut, result, frozenset(inside))
        return None

    def _reaches(self, stream: set[Node], ends: set[Node]) -> bool:
        """Whether one of the values is computed from the stream."""
        seen, pending = set(ends), list(ends)
        earliest = min(self.place[node] for node in stream)
        while pending:
            node = pending.pop()
            if node in stream:
                return True
            for source in node.all_input_nodes:
                if source not in seen and self.place[source] >= earliest:
                    seen.add(source)
                    pending.append(source)
        return False

    def _stream(self, shortcut: Node) -> set[Node]:
        """The values that the shortcut carries on: itself, and what reaches it through sums and nothing else."""
        stream: set[Node] = set()
        pending = [shortcut]
        while pending:
            node = pending.pop()
            if node in stream or shape_of(node) != shape_of(shortcut):
                continue
            stream.add(node)
            if base_name(node) in FREE:
                pending += node.all_input_nodes[:1]
            elif base_name(node) == "add":
                pending += node.all_input_nodes
        return stream

    def read_by(self, tensor: str) -> set[Node]:
        """The operators that read a parameter or buffer."""
        return {reader for node in self._holders[tensor] for reader in self.readers.get(node, ())}

    def modules_of(self, branch: Branch) -> list[str]:
        """The largest modules that compute nothing but the branch, in forward order."""
        whole = {name for name, nodes in self.nodes.items() if name and nodes <= branch.inside}
        largest = [name for name in whole if not any(name.startswith(f"{other}.") for other in whole)]
        return sorted(largest, key=lambda name: min(self.place[node] for node in self.nodes[name]))


def _live_readers(traced: Trace) -> dict[Node, set[Node]]:
    """Node -> who reads it, of all that leads to an output; the rest (checks that the exporter left) is left out."""
    readers: dict[Node, set[Node]] = {}
    for node in reversed(traced.graph.nodes):
        if node.op == "output" or node in readers:
            readers.setdefault(node, set())
            for source in node.all_input_nodes:
                readers.setdefault(source, set()).add(node)
    return readers
