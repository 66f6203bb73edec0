"""Residual branches in the traced graph: what is added to its own input, and how it can be taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn
from torch.fx import Node

from autoprune.graph.block import Block, Swap
from autoprune.graph.branches.calls import Call
from autoprune.graph.branches.residuals import Branch, ResidualGraph
from autoprune.graph.branches.zeros import FREE, SHAPED, zeroed_by
from autoprune.graph.coupling.rule_table import base_name
from autoprune.graph.extent import Extent
from autoprune.graph.trace.export import Trace, canonical_names
from autoprune.models.sizes import parameter_count

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


Sizes = Callable[[Node], tuple[tuple[Extent | int, bool], ...] | None]
"""Per dimension of an operator's result its size, and whether it is a width; None where it has no single result."""


def find_branches(
    model: nn.Module, traced: Trace, calls: dict[str, Call], taken: Iterable[str], sizes: Sizes
) -> Branches:
    """All branches x + f(x) whose f keeps the shape, uses parameters, and is read nowhere else.

    Args:
        model: The model that was traced.
        traced: Its graph.
        calls: How its modules are called.
        taken: Names that groups have.
        sizes: The shapes of its operators' results.
    """
    graph = ResidualGraph(model, traced)
    removals = _Removals(model, graph, calls, sizes)
    found: list[tuple[Branch, list[Block]]] = []
    refused: dict[str, str] = {}
    names = set(taken)
    for branch in graph.branches():
        ways, reason = removals.ways(branch)
        name = removals.name(branch, ways)
        while name in names:
            name += ":block"
        names.add(name)
        if ways:
            found.append((branch, [replace(way, name=name) for way in ways]))
        else:
            refused[name] = reason
    # A branch that lies inside another one goes with it; the outer one begins earlier.
    found.sort(key=lambda entry: min(graph.place[node] for node in entry[0].calls))
    ordered = []
    for branch, ways in found:
        outer = tuple(other[0].name for around, other in found if branch.inside < around.inside)
        ordered.append(tuple(replace(way, outer=outer) for way in ways))
    return Branches(tuple(ordered), refused)


class _Removals:
    """How each branch can be taken out of the user's own forward."""

    def __init__(self, model: nn.Module, graph: ResidualGraph, calls: dict[str, Call], sizes: Sizes) -> None:
        self._graph, self._traced, self._calls, self._sizes = graph, graph.traced, calls, sizes
        self._names = canonical_names(model)  # every name of a tensor -> its first

    def ways(self, branch: Branch) -> tuple[list[Block], str]:
        """The ways to take a branch out, best first, with "" for a name; why not, where there are none."""
        if not any(self._parameter(branch, node) for node in branch.inside):
            return [], "its layers also run elsewhere"
        silencers = zeroed_by(branch.result, branch.inside, lambda node: self._parameter(branch, node))
        if silencers is None:
            return [], "none of its own weights silences it, so that nothing can be proven"
        ways = [self._whole(branch), self._parts(branch, shaped=False), self._parts(branch, shaped=True)]
        reason = next((way for way in ways if isinstance(way, str)), "")
        return [replace(way, silencers=tuple(sorted(silencers))) for way in ways if isinstance(way, Block)], reason

    def name(self, branch: Branch, ways: Sequence[Block]) -> str:
        """The module that is taken out, or of several the one with most parameters."""
        modules = [swap.module for swap in ways[0].swaps] if ways else self._graph.modules_of(branch)
        sizes = {name: parameter_count(self._graph.modules[name]) for name in modules}
        if not sizes:
            return branch.add.name
        name = max(sizes, key=lambda name: sizes[name])
        module = self._graph.modules[name]
        is_layer = not any(module.children()) or any(p.dim() > 1 for p in module.parameters(recurse=False))
        return f"{name}:block" if is_layer else name  # a group may have a layer's name

    def _parameter(self, branch: Branch, node: Node) -> frozenset[str] | None:
        name = self._traced.tensors.get(node.name)
        return frozenset({name}) if name in self._traced.parameters and node in branch.inside else None

    def _whole(self, branch: Branch) -> Block | str:
        """A module that is x + f(x), perhaps with a function behind that changes nothing any more."""
        for module in reversed(self._graph.stack[branch.add]):
            if branch.calls <= self._graph.nodes[module]:
                break
        else:
            return "the sum is taken by no module of its own"
        tail, function = self._tail(branch.add, module)
        source, free = self._source(branch.shortcut, self._graph.nodes[module])
        if self._graph.nodes[module] - branch.inside - {branch.add, *tail, *free}:
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
        while len(readers := self._graph.readers[node]) == 1:
            (node,) = readers
            known = base_name(node) in FREE or (function is None and base_name(node) in _BOUNDED)
            if node not in self._graph.nodes[module] or not known:
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

    def _parts(self, branch: Branch, *, shaped: bool) -> Block | str:
        """The branch's own modules, in a module that goes on running: the last ones give zeros, the others pass on.

        Where modules change the width, what is passed on does not fit: ``shaped`` gives zeros in each one's own shape.
        """
        modules = self._graph.modules_of(branch)
        own = {m: self._graph.nodes[m] for m in modules}

        def gives(node: Node) -> frozenset[str] | None:
            return next((frozenset({m}) for m, nodes in own.items() if node in nodes), None)

        last = zeroed_by(branch.result, branch.inside, gives)
        if last is None:
            return "none of its modules ends it: its layers also run elsewhere, or its last operator is no module"
        shapes = {module: self._shape(module) if shaped else None for module in modules}
        if shaped and not any(shapes.values()):
            return "its modules' shapes do not follow from their arguments"
        zeros = {*last, *(module for module, shape in shapes.items() if shape is not None)}
        swaps = [self._swap(m, "zero" if m in zeros else "pass", shape) for m, shape in shapes.items()]
        known = [swap for swap in swaps if swap is not None]
        if len(known) < len(swaps):
            missing = next(m for m, swap in zip(modules, swaps, strict=True) if swap is None)
            return f"its module {missing} is called in several ways"
        return self._block(branch, known, set())

    def _swap(self, module: str, does: str, shape: tuple[Extent | int | None, ...] | None = None) -> Swap | None:
        call = self._calls.get(module)
        if call is None:
            return None
        return Swap(module, does, call.argument, call.form, call.plain, shape)  # type: ignore[arg-type]  # one of three

    def _shape(self, module: str) -> tuple[Extent | int | None, ...] | None:
        """The shape of a module's result; None where it is not known for inputs of other sizes."""
        own, call = self._graph.nodes[module], self._calls.get(module)
        ends = [node for node in own if not self._graph.readers[node] <= own]
        if call is None or call.same is None or len(ends) != 1 or (sizes := self._sizes(ends[0])) is None:
            return None
        shape: list[Extent | int | None] = []
        for (size, is_width), same in zip(sizes, call.same, strict=True):
            if not (is_width or same or size == 1):
                return None
            shape.append(size if is_width or not same else None)
        return tuple(shape)

    def _block(self, branch: Branch, swaps: Sequence[Swap], gone: set[Node]) -> Block | str:
        """The block, or why the tensors that go with it cannot go."""
        below = {alias for alias in self._names if any(alias.startswith(f"{swap.module}.") for swap in swaps)}
        names = {self._traced.tensors.get(node.name, "") for node in branch.inside}
        stubs = {name for name in names if name in self._traced.parameters and name not in below}
        first = {self._names[alias] for alias in below}
        going = first | stubs
        shared = [alias for alias, name in self._names.items() if name in going and alias not in below | stubs]
        shared += [name for name in first if not self._graph.read_by(name) <= branch.inside | gone]
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
