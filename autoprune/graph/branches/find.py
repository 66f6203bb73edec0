"""Residual branches in the traced graph: what is added to its own input, and how it can be taken out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn
from torch.fx import Node

from autoprune.graph.block import Block, Swap
from autoprune.graph.branches.calls import Call
from autoprune.graph.branches.zeros import FREE, SHAPED, base_name, zeroed_by
from autoprune.graph.coupling.flow import shape_of
from autoprune.graph.trace.export import Trace, canonical_names

__all__ = ["Branches", "find_branches"]

_BOUNDED = ("relu", "relu6", "hardtanh")  # f(f(x)) = f(x)


@dataclass(frozen=True)
class Branches:
    """What was found.

    Attributes:
        ways: For each branch, in forward order, the ways to take it out, best first; all of one name.
        refused: Name -> why a branch cannot be taken out.
    """

    ways: tuple[tuple[Block, ...], ...]
    refused: dict[str, str]


@dataclass(frozen=True, eq=False)
class _Branch:
    """add = shortcut + result, and all that is computed for the result alone."""

    add: Node
    shortcut: Node
    result: Node
    inside: frozenset[Node]

    @property
    def calls(self) -> frozenset[Node]:
        """The operators among what is inside."""
        return frozenset(node for node in self.inside if node.op == "call_function")


def find_branches(model: nn.Module, traced: Trace, calls: dict[str, Call], taken: Iterable[str]) -> Branches:
    """All branches x + f(x) whose f keeps the shape, uses parameters, and is read nowhere else.

    Args:
        model: The model that was traced.
        traced: Its graph.
        calls: How its modules are called.
        taken: Names that groups have.
    """
    finder = _Finder(model, traced, calls)
    found: list[tuple[_Branch, list[Block]]] = []
    refused: dict[str, str] = {}
    names = set(taken)
    for branch in finder.branches():
        ways, reason = finder.ways(branch)
        name = finder.name(branch, ways)
        while name in names:
            name += ":block"
        names.add(name)
        if ways:
            found.append((branch, [replace(way, name=name) for way in ways]))
        else:
            refused[name] = reason
    # A branch that lies inside another one goes with it; the outer one begins earlier.
    found.sort(key=lambda entry: min(finder.place[node] for node in entry[0].calls))
    ordered = []
    for branch, ways in found:
        outer = tuple(other[0].name for around, other in found if branch.inside < around.inside)
        ordered.append(tuple(replace(way, outer=outer) for way in ways))
    return Branches(tuple(ordered), refused)


class _Finder:
    """The graph, with what each module computes in it."""

    def __init__(self, model: nn.Module, traced: Trace, calls: dict[str, Call]) -> None:
        self._traced, self._calls = traced, calls
        self._names = canonical_names(model)  # every name of a tensor -> its first
        self._first = {id(module): name for name, module in reversed(list(model.named_modules()))}
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self.place = {node: place for place, node in enumerate(traced.graph.nodes)}
        self._readers = _live_readers(traced)
        self._holders: dict[str, list[Node]] = defaultdict(list)
        for node in traced.graph.find_nodes(op="placeholder"):
            self._holders[traced.tensors.get(node.name, "")].append(node)
        self._nodes: dict[str, set[Node]] = defaultdict(set)
        self._stack: dict[Node, list[str]] = {}
        for node in traced.graph.nodes:
            if node.op == "call_function" and node in self._readers:
                self._stack[node] = self._callers(node)
                for module in self._stack[node]:
                    self._nodes[module].add(node)

    def _callers(self, node: Node) -> list[str]:
        """The modules that this operator runs in, outermost first; the model itself is left out."""
        stack = node.meta.get("nn_module_stack") or {}
        paths = [str(entry[0]).removeprefix("model").removeprefix(".") for entry in stack.values()]
        return [self._first[id(self._modules[path])] for path in paths if path and path in self._modules]

    # Which branches there are.

    def branches(self) -> list[_Branch]:
        """Every sum of a value and something that is computed from it alone, in forward order."""
        found = []
        for add in self._traced.graph.nodes:
            if base_name(add) != "add" or add not in self._readers or len(add.args) < 2:
                continue
            one, other = add.args[:2]
            sides = [side for side in (one, other) if isinstance(side, Node) and shape_of(side) == shape_of(add)]
            if len(sides) < 2 or sides[0] is sides[1] or add.kwargs.get("alpha", 1) != 1:
                continue
            pairs = ((sides[0], sides[1]), (sides[1], sides[0]))
            found += [b for b in (self._branch(add, shortcut, result) for shortcut, result in pairs) if b is not None]
        return found

    def _branch(self, add: Node, shortcut: Node, result: Node) -> _Branch | None:
        stream = self._stream(shortcut)
        if result in stream:
            return None
        inside: set[Node] = set()
        pending = [result]
        while pending:
            node = pending.pop()
            allowed = {add} if node is result else inside
            if node in inside or not self._readers.get(node, set()) <= allowed:
                continue
            inside.add(node)
            pending += node.all_input_nodes  # looked at again by every reader: the last one lets it in
        sources = {source for node in inside for source in node.all_input_nodes}
        holds = any(self._traced.tensors.get(node.name) in self._traced.parameters for node in sources)
        if holds and self._reaches(stream, sources - inside):
            return _Branch(add, shortcut, result, frozenset(inside))
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

    # How they can be taken out.

    def ways(self, branch: _Branch) -> tuple[list[Block], str]:
        """The ways to take a branch out, best first, with "" for a name; why not, where there are none."""
        if not any(self._parameter(branch, node) for node in branch.inside):
            return [], "its layers also run elsewhere"
        silencers = zeroed_by(branch.result, branch.inside, lambda node: self._parameter(branch, node))
        if silencers is None:
            return [], "none of its own weights silences it, so that nothing can be proven"
        ways = [self._whole(branch), self._parts(branch)]
        reason = next((way for way in ways if isinstance(way, str)), "")
        return [replace(way, silencers=tuple(sorted(silencers))) for way in ways if isinstance(way, Block)], reason

    def name(self, branch: _Branch, ways: Sequence[Block]) -> str:
        """The module that is taken out, or of several the one with most parameters."""
        modules = [swap.module for swap in ways[0].swaps] if ways else self._inside(branch)
        sizes = {name: sum(p.numel() for p in self._modules[name].parameters()) for name in modules}
        if not sizes:
            return branch.add.name
        name = max(sizes, key=lambda name: sizes[name])
        module = self._modules[name]
        is_layer = not any(module.children()) or any(p.dim() > 1 for p in module.parameters(recurse=False))
        return f"{name}:block" if is_layer else name  # a group may have a layer's name

    def _parameter(self, branch: _Branch, node: Node) -> frozenset[str] | None:
        name = self._traced.tensors.get(node.name)
        return frozenset({name}) if name in self._traced.parameters and node in branch.inside else None

    def _whole(self, branch: _Branch) -> Block | str:
        """A module that is x + f(x), perhaps with a function behind that changes nothing any more."""
        for module in reversed(self._stack[branch.add]):
            if branch.calls <= self._nodes[module]:
                break
        else:
            return "the sum is taken by no module of its own"
        tail, function = self._tail(branch.add, module)
        source, free = self._source(branch.shortcut, self._nodes[module])
        if self._nodes[module] - branch.inside - {branch.add, *tail, *free}:
            return f"{module} does more than adding it"
        does = "pass" if function is None or self._is_bounded(source, function) else base_name(function)
        if does not in ("pass", "relu"):
            return f"{module} ends in {does}"
        swap = self._swap(module, does)
        if swap is None or (does == "relu" and not (swap.plain and swap.form is None)):
            return f"{module} is called in several ways"
        gone = {branch.add, *free, *tail} - ({function} if does == "relu" and function is not None else set())
        return self._block(branch, [swap], gone)

    def _tail(self, add: Node, module: str) -> tuple[list[Node], Node | None]:
        """What the module does with the sum: operators that change nothing, and at most one bounded function."""
        tail: list[Node] = []
        function, node = None, add
        while len(readers := self._readers[node]) == 1:
            (node,) = readers
            known = base_name(node) in FREE or (function is None and base_name(node) in _BOUNDED)
            if node not in self._nodes[module] or not known:
                break
            function = node if base_name(node) in _BOUNDED else function
            tail.append(node)
        return tail, function

    def _source(self, shortcut: Node, module: set[Node]) -> tuple[Node, list[Node]]:
        """What comes into the module as x, and the operators that change nothing on its way to the sum."""
        free, node = [], shortcut
        while node in module and base_name(node) in FREE:
            free.append(node)
            node = node.all_input_nodes[0]
        return node, free

    def _is_bounded(self, node: Node, function: Node) -> bool:
        """Whether a value has been through this very function, so that it changes nothing."""
        while base_name(node) in FREE or base_name(node) in SHAPED:
            node = node.all_input_nodes[0]
        return base_name(node) == base_name(function) and node.args[1:] == function.args[1:]

    def _parts(self, branch: _Branch) -> Block | str:
        """The branch's own modules, in a module that goes on running: the last ones give zeros, the others pass on."""
        modules = self._inside(branch)
        own = {m: self._nodes[m] for m in modules}

        def gives(node: Node) -> frozenset[str] | None:
            return next((frozenset({m}) for m, nodes in own.items() if node in nodes), None)

        last = zeroed_by(branch.result, branch.inside, gives)
        if last is None:
            return "none of its modules ends it: its layers also run elsewhere, or its last operator is no module"
        swaps = [self._swap(module, "zero" if module in last else "pass") for module in modules]
        known = [swap for swap in swaps if swap is not None]
        if len(known) < len(swaps):
            missing = next(m for m, swap in zip(modules, swaps, strict=True) if swap is None)
            return f"its module {missing} is called in several ways"
        return self._block(branch, known, set())

    def _read_by(self, tensor: str) -> set[Node]:
        """The operators that read a parameter or buffer."""
        return {reader for node in self._holders[tensor] for reader in self._readers.get(node, ())}

    def _inside(self, branch: _Branch) -> list[str]:
        """The largest modules that compute nothing but the branch, in forward order."""
        whole = {name for name, nodes in self._nodes.items() if name and nodes <= branch.inside}
        largest = [name for name in whole if not any(name.startswith(f"{other}.") for other in whole)]
        return sorted(largest, key=lambda name: min(self.place[node] for node in self._nodes[name]))

    def _swap(self, module: str, does: str) -> Swap | None:
        call = self._calls.get(module)
        if call is None:
            return None
        return Swap(module, does, call.argument, call.form, call.plain)  # type: ignore[arg-type]  # one of the three

    def _block(self, branch: _Branch, swaps: Sequence[Swap], gone: set[Node]) -> Block | str:
        """The block, or why the tensors that go with it cannot go."""
        below = {alias for alias in self._names if any(alias.startswith(f"{swap.module}.") for swap in swaps)}
        names = {self._traced.tensors.get(node.name, "") for node in branch.inside}
        stubs = {name for name in names if name in self._traced.parameters and name not in below}
        first = {self._names[alias] for alias in below}
        going = first | stubs
        shared = [alias for alias, name in self._names.items() if name in going and alias not in below | stubs]
        shared += [name for name in first if not self._read_by(name) <= branch.inside | gone]
        if shared:
            return f"its parameter {shared[0]} is also used elsewhere"
        return Block(
            name="",
            nodes=frozenset(node.name for node in branch.calls | gone),
            tensors=frozenset(going),
            swaps=tuple(swaps),
            stubs=tuple(sorted(stubs)),
            silencers=(),
        )


def _live_readers(traced: Trace) -> dict[Node, set[Node]]:
    """Node -> who reads it, of all that leads to an output; the rest (checks that the exporter left) is left out."""
    readers: dict[Node, set[Node]] = {}
    for node in reversed(traced.graph.nodes):
        if node.op == "output" or node in readers:
            readers.setdefault(node, set())
            for source in node.all_input_nodes:
                readers.setdefault(source, set()).add(node)
    return readers
