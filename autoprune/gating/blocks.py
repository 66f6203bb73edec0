"""Residual blocks that an input may skip: between two values that all of the flow passes through, one sum apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx

from autoprune.dynamic_networks.flow import Flow, node_name, sizes_of
from autoprune.dynamic_networks.frontiers import frontiers
from autoprune.errors import UnsupportedModelError

__all__ = ["Residual", "residuals_of", "without"]

_SUMS = (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor)
_RELUS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)


@dataclass(frozen=True)
class Residual:
    """A block x + f(x), perhaps with what is positive of it, that becomes x where it is skipped.

    Attributes:
        name: Of the module that ends with it, or inside which it lies.
        start: The value x in the graph.
        end: What it gives.
        relu: Whether a ReLU follows the sum, so that what is positive of x remains.
    """

    name: str
    start: str
    end: str
    relu: bool


def residuals_of(flow: Flow) -> tuple[Residual, ...]:
    """The blocks in forward order; none lies in another.

    Args:
        flow: The network.

    Raises:
        UnsupportedModelError: If there is none.
    """
    passed = list(frontiers(flow))
    place = {node: number for number, node in enumerate(flow.nodes)}
    found: list[Residual] = []
    last = -1
    for node in passed:
        if any(user.target in _RELUS and len(node.users) == 1 for user in node.users):
            continue  # the ReLU behind a sum belongs to its block: runtimes compute both at once
        start = _start_of(node, passed)
        if start is not None and place[start] >= last:
            found.append(_residual(start, node))
            last = place[node]
    if not found:
        raise UnsupportedModelError(
            "this network has no block that could be skipped: nowhere is something added to a value that everything"
            " behind it is computed from"
        )
    names = Counter(block.name for block in found)
    return tuple(
        block if names[block.name] == 1 else replace(block, name=f"{block.name}/{block.end}") for block in found
    )


def without(flow: Flow, blocks: Sequence[Residual]) -> Flow:
    """The network that never computes some of its blocks.

    Args:
        flow: Left as it is; the parameters are shared.
        blocks: That go.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    graph.output(graph.graph_copy(flow.module.graph, copies))
    named = {node.name: new for node, new in copies.items()}
    for block in blocks:  # the values keep their names, by which the network is cut
        start, end = named[block.start], named[block.end]
        end.target = end.target if block.relu else torch.ops.aten.clone.default
        end.args, end.kwargs = (start,), {}
    graph.eliminate_dead_code()
    return Flow(fx.GraphModule(flow.module, graph), flow.one_by_one, flow.example)


def _residual(start: fx.Node, end: fx.Node) -> Residual:
    return Residual(_module_of(end, start), start.name, end.name, end.target in _RELUS)


def _module_of(end: fx.Node, start: fx.Node) -> str:
    """The innermost module that the sum and what is added lie in; of the whole network the value is named."""
    total = end.all_input_nodes[0] if end.target in _RELUS else end
    added = next(node for node in total.all_input_nodes if node is not start)
    around = _modules(added)
    common = [path for path in _modules(total) if path in around]
    return common[-1] if common else f"{node_name(end)}/{end.name}"


def _modules(node: fx.Node) -> list[str]:
    """Paths of the modules that a value is computed in, the outermost first."""
    return [str(entry[0]) for entry in (node.meta.get("nn_module_stack") or {}).values() if str(entry[0])]


def _start_of(node: fx.Node, passed: list[fx.Node]) -> fx.Node | None:
    """The value that is added to something computed from it, of the same sizes; None where this is no such sum."""
    total = node.all_input_nodes[0] if node.target in _RELUS else node
    if total.target not in _SUMS or len(total.all_input_nodes) != 2 or len(total.kwargs):
        return None
    if total is not node and len(total.users) > 1:
        return None
    starts = [each for each in total.all_input_nodes if each in passed and sizes_of(each) == sizes_of(node)]
    return starts[0] if len(starts) == 1 and sizes_of(node) is not None else None
