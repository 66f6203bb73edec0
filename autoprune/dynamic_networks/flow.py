"""A network as one flat graph, in which what flows from the inputs to the output can be followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from autoprune.errors import InputError, UnsupportedModelError, first_line
from autoprune.graph.trace.quiet import quiet
from autoprune.models import with_tensor_output
from autoprune.models.inputs.example import Example, as_example, open_batch

__all__ = ["Flow", "flow_of", "node_name", "sizes_of"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The exported graph of a network in evaluation mode.

    Attributes:
        module: Its operators in forward order; nothing in it is changed in place.
        one_by_one: Whether it takes one sample at a time, because its forward cannot be exported for any number.
        example: What it was exported with.
    """

    module: fx.GraphModule
    one_by_one: bool
    example: Example

    @property
    def nodes(self) -> list[fx.Node]:
        """All nodes in forward order."""
        return list(self.module.graph.nodes)

    @property
    def placeholders(self) -> list[fx.Node]:
        """The inputs, in the order of `flat`."""
        return [node for node in self.module.graph.nodes if node.op == "placeholder"]

    @cached_property
    def activations(self) -> frozenset[fx.Node]:
        """Values that are computed from an input and a parameter: all others can be computed again.

        Sizes say nothing of what an input holds: a class token or a table of relative positions that is spread over
        as many samples as there are is none of them.
        """
        parameters = {name for name, _ in self.module.named_parameters()}
        fed: set[fx.Node] = set()
        learned: set[fx.Node] = set()
        for node in self.module.graph.nodes:
            sources = node.all_input_nodes
            is_size = node.target is torch.ops.aten.sym_size.int
            if node.op == "placeholder" or (not is_size and any(source in fed for source in sources)):
                fed.add(node)
            if str(node.target) in parameters or any(source in learned for source in sources):
                learned.add(node)
        calls = {node for node in fed & learned if node.op == "call_function"}
        return frozenset(node for node in calls if not isinstance(_value(node), torch.SymInt | int))

    @cached_property
    def ends(self) -> dict[fx.Node, str]:
        """Value -> the outermost module of several operators, not the network itself, that ends with it."""
        last: dict[str, fx.Node] = {}
        size: Counter[str] = Counter()
        paths: dict[fx.Node, list[str]] = {}
        for node in self.module.graph.nodes:
            stack = (node.meta.get("nn_module_stack") or {}).values()
            paths[node] = [str(entry[0]) for entry in stack if str(entry[0])]
            last |= dict.fromkeys(paths[node], node)
            size.update(paths[node])
        outermost = {
            node: next((p for p in found if last[p] is node and size[p] > 1), "") for node, found in paths.items()
        }
        return {node: path for node, path in outermost.items() if path}

    def flat(self, call: Any) -> tuple[Any, ...]:
        """The leaves of a call's arguments in the order of the graph's inputs.

        Args:
            call: An input, or several as `as_example` takes them; named ones in any order.

        Raises:
            InputError: If they are not the inputs that the network was exported with.
        """
        given = as_example(call)
        if set(given.kwargs) != set(self.example.kwargs) or len(given.args) != len(self.example.args):
            raise InputError(f"the network was made for a call with {self.example.words}, not {given.words}")
        named = {name: given.kwargs[name] for name in self.example.kwargs}
        return tuple(torch.utils._pytree.tree_leaves((given.args, named)))


def flow_of(model: nn.Module, example: Any) -> Flow:
    """Export a network for any number of samples, or where that fails for one at a time.

    Args:
        model: Any module that `torch.export` can trace; left as it was. The parameters are copies.
        example: The input, or the inputs as `as_example` takes them.

    Raises:
        UnsupportedModelError: If it cannot be exported either way.
    """
    given = as_example(example).copied()
    frozen = with_tensor_output(model).to(given.tensors()[0].device)
    pair, single = given.with_batch(2), given.with_batch(1)
    try:
        return Flow(_exported(frozen, pair, open_batch(pair)), False, pair)
    except Exception:  # noqa: BLE001 - exporting runs the user's code; a fixed number of samples is one cause
        pass
    try:
        return Flow(_exported(frozen, single, None), True, single)
    except Exception as error:
        raise UnsupportedModelError(f"torch.export cannot trace this model: {first_line(error)[:300]}") from error


def _exported(model: nn.Module, given: Example, shapes: Any) -> fx.GraphModule:
    call = given.copied()
    with quiet(), torch.no_grad():
        program = torch.export.export(model, call.args, dict(call.kwargs), dynamic_shapes=shapes)
        if _changes_in_place(program.graph_module.graph.nodes):
            program = program.run_decompositions({})
        module = program.module(check_guards=False)
    if not isinstance(module, fx.GraphModule):
        raise UnsupportedModelError("torch.export returned no graph for this model")
    module.graph.eliminate_dead_code()
    if _changes_in_place(module.graph.nodes):
        raise UnsupportedModelError("the model changes a tensor in place in a way that cannot be undone")
    return module


def _changes_in_place(nodes: Iterable[fx.Node]) -> bool:
    return any(getattr(getattr(node.target, "_schema", None), "is_mutable", False) for node in nodes)


def node_name(node: fx.Node) -> str:
    """Where a value is computed, for people: the innermost module, and the operator."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = str(stack[-1][0]) if stack else ""
    return module or node.name


def _value(node: fx.Node) -> Any:
    return node.meta.get("val")


def _samples(graph: fx.Graph) -> Any:
    """The first size of the first input that has one."""
    inputs = (_value(node) for node in graph.nodes if node.op == "placeholder")
    return next((value.shape[0] for value in inputs if isinstance(value, Tensor) and value.dim()), None)


def sizes_of(node: fx.Node) -> tuple[int, ...] | None:
    """The sizes of one sample of a value, without the samples' dimension; None if it has none such, or none fixed."""
    value = _value(node)
    if not isinstance(value, Tensor) or value.dim() < 2 or str(value.shape[0]) != str(_samples(node.graph)):
        return None
    sizes = value.shape[1:]
    return tuple(int(size) for size in sizes) if all(isinstance(size, int) for size in sizes) else None
