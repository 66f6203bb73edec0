"""Values that all of the flow from the inputs to the output passes through."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from autoprune.dynamic_networks.flow import Flow

__all__ = ["cuts", "frontiers"]


def frontiers(flow: Flow) -> Iterator[fx.Node]:
    """Values in forward order that everything behind them is computed from; inputs may only be carried along.

    An operator that computes something from an input and parameters alone begins a way around whatever is before it.
    """
    nodes = flow.nodes
    begins = [node for node in flow.activations if flow.activations.isdisjoint(node.all_input_nodes)]
    last = max(map(nodes.index, begins), default=0)
    for node, alive in cuts(flow):
        if alive == {node} and nodes.index(node) >= last:
            yield node


def cuts(flow: Flow) -> Iterator[tuple[fx.Node, set[fx.Node]]]:
    """After every activation those that are read later."""
    nodes = flow.nodes
    last = {source: place for place, node in enumerate(nodes) for source in node.all_input_nodes}
    alive: set[fx.Node] = set()
    for place, node in enumerate(nodes):
        if node in flow.activations:
            alive.add(node)
        alive = {each for each in alive if last.get(each, -1) > place}
        if node in flow.activations:
            yield node, alive
