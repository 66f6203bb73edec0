"""Regions that the exporter keeps as graphs of their own (autocast, switched gradients), put back in line."""

from __future__ import annotations

import operator
from typing import Any

from torch.fx import GraphModule, Node

__all__ = ["inline"]

_REGIONS = ("wrap_with_autocast", "wrap_with_set_grad_enabled")


def inline(module: GraphModule) -> bool:
    """Put the operators of such regions into the graph itself, which is changed.

    What the region asks for is lost: nothing where it switches gradients or turns autocast off.

    Returns:
        Whether a region asked for a lower precision.
    """
    lower = False
    while found := next((node for node in module.graph.nodes if _region(node) is not None), None):
        lower |= "autocast" in str(found.target) and found.args[2] is True
        _dissolve(module, found)
    module.graph.lint()
    module.recompile()
    return lower


def _region(node: Node) -> Node | None:
    """The sub-graph that a region runs."""
    if node.op != "call_function" or str(node.target) not in _REGIONS:
        return None
    return next(arg for arg in node.args if isinstance(arg, Node) and arg.op == "get_attr")


def _dissolve(module: GraphModule, region: Node) -> None:
    source = _region(region)
    inner = None if source is None else module.get_submodule(str(source.target))
    if source is None or not isinstance(inner, GraphModule):
        return
    given = region.args[region.args.index(source) + 1 :]
    known: dict[Node, Any] = dict(zip(inner.graph.find_nodes(op="placeholder"), given, strict=True))
    results: Any = ()
    with module.graph.inserting_before(region):
        for node in inner.graph.nodes:
            if node.op == "output":
                results = node.args[0]
            elif node.op == "get_attr":
                name = f"{source.target}_{node.target}"
                setattr(module, name, getattr(inner, str(node.target)))
                known[node] = module.graph.get_attr(name)
            elif node.op != "placeholder":
                known[node] = module.graph.node_copy(node, known.__getitem__)
    parts = list(results) if isinstance(results, list | tuple) else [results]
    for user in list(region.users):
        if user.target is operator.getitem and isinstance(place := user.args[1], int):
            user.replace_all_uses_with(known[parts[place]])
            module.graph.erase_node(user)
    module.graph.erase_node(region)
    module.graph.erase_node(source)
