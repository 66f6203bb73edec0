"""The exported graph cut at places: one module a stage, which run one after the other give the network's output."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.errors import UnsupportedModelError

__all__ = ["Stage", "cut_at", "run_stages"]


@dataclass(frozen=True, eq=False)
class Stage:
    """One part of a network.

    Attributes:
        module: Called with the value at the place before, unless it is the first, and the inputs that it reads.
        first: Whether it begins at the inputs.
        inputs: Which of the network's flat inputs it reads, by number.
    """

    module: nn.Module
    first: bool
    inputs: tuple[int, ...]

    def arguments(self, features: Tensor | None, flat: Sequence[Any]) -> tuple[Any, ...]:
        """What its module is called with."""
        carried = tuple(flat[number] for number in self.inputs)
        return carried if self.first else (features, *carried)

    def __call__(self, features: Tensor | None, flat: Sequence[Any]) -> Tensor:
        """The value at its end, or the network's output (N, ...)."""
        found: Tensor = self.module(*self.arguments(features, flat))
        return found


def cut_at(flow: Flow, nodes: Sequence[str]) -> tuple[Stage, ...]:
    """The stages between places.

    Args:
        flow: The network; the stages share its parameters.
        nodes: The values at which it is cut, in forward order; none gives the whole network as one stage.

    Raises:
        UnsupportedModelError: If it has no such value, or a stage would need something else of the one before.
    """
    known = {node.name: node for node in flow.nodes}
    missing = [name for name in nodes if name not in known]
    if missing:
        raise UnsupportedModelError(f"the network has no value {missing[0]}; it is not the one that was divided")
    output = next(node for node in reversed(flow.nodes) if node.op == "output")
    ends = [*(known[name] for name in nodes), output.all_input_nodes[0]]
    starts: list[fx.Node | None] = [None, *ends[:-1]]
    return tuple(_stage(flow, start, end) for start, end in zip(starts, ends, strict=True))


def run_stages(stages: Sequence[Stage], flat: Sequence[Any]) -> Tensor:
    """The output of stages one after the other."""
    features: Tensor | None = None
    for stage in stages:
        features = stage(features, flat)
    if features is None:
        raise UnsupportedModelError("there is no stage to run")
    return features


def _stage(flow: Flow, start: fx.Node | None, end: fx.Node) -> Stage:
    wanted = _needed(flow, start, end)
    graph, copies = fx.Graph(), {}
    if start is not None:
        copies[start] = graph.placeholder("features")
    placeholders = flow.placeholders
    read = [number for number, node in enumerate(placeholders) if node in wanted]
    for number in read:
        copies[placeholders[number]] = graph.placeholder(f"input_{number}")
    for node in flow.nodes:
        if node in wanted and node not in copies:
            size = _size_of_start(graph, node, start, copies) if node not in flow.activations else None
            copies[node] = graph.node_copy(node, lambda each: copies[each]) if size is None else size
    graph.output(copies[end])
    graph.lint()
    module = fx.GraphModule(flow.module, graph)
    return Stage(module.eval(), start is None, tuple(read))


def _needed(flow: Flow, start: fx.Node | None, end: fx.Node) -> set[fx.Node]:
    """What the end is computed from, the start's own sources aside."""
    wanted: set[fx.Node] = set()
    pending = [end]
    while pending:
        node = pending.pop()
        if node is start or node in wanted:
            continue
        wanted.add(node)
        if start is None or not _is_read_size(node):
            pending += node.all_input_nodes
    return wanted


def _is_read_size(node: fx.Node) -> bool:
    return node.target is torch.ops.aten.sym_size.int


def _size_of_start(
    graph: fx.Graph, node: fx.Node, start: fx.Node | None, copies: Mapping[fx.Node, fx.Node]
) -> fx.Node | None:
    """A size that was read off a value before the start, as a multiple of the start's number of samples.

    Raises:
        UnsupportedModelError: If it is none.
    """
    if start is None or not _is_read_size(node):
        return None
    samples = graph.call_function(torch.ops.aten.sym_size.int, (copies[start], 0))
    size, one = node.meta["val"], start.meta["val"].shape[0]
    ratio = _expression(size) / _expression(one)
    if not getattr(ratio, "is_Integer", float(ratio).is_integer() if isinstance(ratio, float) else False):
        raise UnsupportedModelError(f"behind {start.name} the size {size} is needed, which is no multiple of {one}")
    return samples if int(ratio) == 1 else graph.call_function(operator.mul, (samples, int(ratio)))


def _expression(size: Any) -> Any:
    """A size as a number or a symbolic expression of the number of samples."""
    return size.node.expr if isinstance(size, torch.SymInt) else size
