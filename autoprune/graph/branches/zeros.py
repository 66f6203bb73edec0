"""What has to be zero for a value of the graph to be zero."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch.fx import Node

from autoprune.graph.coupling.rule_table import base_name, bound

__all__ = ["FREE", "SHAPED", "zeroed_by"]

Names = frozenset[str]
Leaf = Callable[[Node], Names | None]


def _words(text: str) -> Names:
    return frozenset(text.split())


FREE = _words("alias clone contiguous detach dropout alpha_dropout feature_dropout lift_fresh_copy identity")
"""Operators that leave values and shape alone in evaluation mode."""

SHAPED = _words(
    """view reshape permute transpose t flatten unflatten squeeze unsqueeze expand expand_as slice select narrow chunk
    split split_with_sizes roll flip repeat movedim swapaxes unbind getitem pixel_shuffle pixel_unshuffle max_pool1d
    max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d"""
)
"""Operators that move, copy or pool values: zeros stay zeros, a range of values stays inside its bounds."""

_ODD = _words(
    """relu relu6 leaky_relu elu selu celu silu gelu mish tanh hardswish softsign abs neg sqrt square sign sin expm1
    log1p erf mean sum to _to_copy type_as float half bfloat16 upsample_nearest2d upsample_bilinear2d"""
)
"""Further operators with f(0) = 0."""

_AFFINE = _words("batch_norm layer_norm group_norm instance_norm rms_norm native_layer_norm")
_WEIGHTED = _words("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
_PRODUCTS = _words("mul multiply matmul bmm einsum _weight_norm")
_SUMS = _words("add sub cat stack concat")


def zeroed_by(node: Node, inside: Collection[Node], leaf: Leaf) -> Names | None:
    """Names of the things that make a value zero when all of them are; None where there are none.

    Args:
        node: The value.
        inside: Where to look; no further back.
        leaf: What can be zero by itself: the names behind a node, or None.
    """
    known: dict[Node, Names | None] = {}

    def visit(here: Node) -> Names | None:
        if here not in known:
            known[here] = None
            if here not in inside:
                return None
            found = leaf(here)
            known[here] = found if found is not None or here.op != "call_function" else _through(here, visit)
        return known[here]

    return visit(node)


def _through(node: Node, visit: Leaf) -> Names | None:
    name, inputs = base_name(node), node.all_input_nodes
    if not inputs:
        return None
    if name in FREE or name in SHAPED or name in _ODD:
        return visit(inputs[0])
    if name in _PRODUCTS:
        return next((found for found in map(visit, inputs) if found is not None), None)
    if name in _SUMS:
        return _all(node.all_input_nodes, visit)
    if name in ("div", "true_divide", "divide", "prelu"):
        return visit(inputs[0])
    if name == "scaled_dot_product_attention" and len(inputs) > 2:
        return visit(inputs[2])
    if name in ("addmm", "baddbmm"):
        product = next((found for found in map(visit, inputs[1:]) if found is not None), None)
        more = visit(inputs[0])
        return None if product is None or more is None else product | more
    if name in _AFFINE or name in _WEIGHTED:
        return _affine(node, name, visit)
    return None


def _affine(node: Node, name: str, visit: Leaf) -> Names | None:
    """A weight times something, and a bias."""
    arguments: dict[str, Any] = bound(node)
    weight, bias = arguments.get("weight"), arguments.get("bias")
    source = [arguments["input"]] if name in _WEIGHTED else []
    factors = [part for part in (weight, *source) if isinstance(part, Node)]
    zero = next((found for found in map(visit, factors) if found is not None), None)
    if zero is None or not isinstance(bias, Node):
        return zero
    more = visit(bias)
    return None if more is None else zero | more


def _all(nodes: list[Node], visit: Leaf) -> Names | None:
    found: Names = frozenset()
    for node in nodes:
        more = visit(node)
        if more is None:
            return None
        found |= more
    return found
