"""Rules of attention: products of two activations, and PyTorch's own operator for the whole of it.

Heads are what such a product repeats side by side: dropping one leaves the others as they are, and the columns of
the layer behind read it. Head size is what it sums over (queries and keys) or hands on (values).
"""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown, shape_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk

__all__ = ["product"]


def product(walk: Walk, node: Node, flows: list[Flow], parts: list[str], output: str) -> Result:
    """A product of two activations, as einsum writes it: shared letters are tied, the others pass."""
    shape = shape_of(node)
    if shape is None or len(flows) != 2:
        raise Unknown
    (one, first), (other, second) = zip(flows, parts, strict=True)
    dims: dict[str, Atoms | None] = {}
    for letter in dict.fromkeys(first + second):
        sides = [flow.dims[part.index(letter)] for flow, part in ((one, first), (other, second)) if letter in part]
        dims[letter] = walk.tie(sides[0], sides[1], node) if len(sides) == 2 else sides[0]
    for letter, atoms in dims.items():
        shared = letter in first and letter in second
        if letter not in output:
            _contracted(walk, node, atoms, shared)
        elif shared:
            _heads(walk, node, atoms)
        else:
            walk.mark("head_size", atoms)
    return walk.record(node, "other", flows, Flow(shape, tuple(dims[letter] for letter in output)))


@rule("baddbmm")
def added_product(walk: Walk, node: Node, args: Arguments) -> Result:
    """``mask + batch1 @ batch2``."""
    mask, flows = walk.need(args["self"]), [walk.need(args["batch1"]), walk.need(args["batch2"])]
    if any(flow.tensor is not None for flow in flows):
        raise Unknown
    result = product(walk, node, flows, ["bxy", "byz"], "bxz")
    if not isinstance(result, Flow):
        raise Unknown
    for back in range(-len(mask.shape), 0):
        if mask.shape[back] == result.shape[back] > 1:
            walk.tie(mask.dims[back], result.dims[back], node)
    return result


def _heads(walk: Walk, node: Node, atoms: Atoms | None) -> None:
    """Note that these are heads, and that torch's attention module around the operator counts them."""
    walk.mark("heads", atoms)
    if atoms is not None:
        _, first = np.unique(atoms, return_index=True)
        walk.counts.attributes.append((walk.trace.around(node), "num_heads", atoms[np.sort(first)]))


def _contracted(walk: Walk, node: Node, atoms: Atoms | None, shared: bool) -> None:
    """A width that is summed over: what one side has at 0 adds nothing."""
    if shared:
        walk.mark("head_size", atoms)
        if atoms is not None:
            walk.table.contract(atoms)
    else:
        walk.freeze(atoms, node, "summed over by")


@rule("scaled_dot_product_attention")
def attention(walk: Walk, node: Node, args: Arguments) -> Result:
    """``softmax(q @ k.T * scale + mask) @ v`` for every head; several query heads may share one of keys and values."""
    q, k, v, mask = (walk.flow(args[name]) for name in ("query", "key", "value", "attn_mask"))
    shape = shape_of(node)
    if q is None or k is None or v is None or shape is None or not len(q.shape) == len(k.shape) == len(v.shape):
        raise Unknown
    _size(walk, node, q, k, scaled=args.get("scale") is not None)
    for flow in (q, k, v, *([mask] if mask is not None else [])):
        for place in (-2, -1) if flow is mask else (-2,):
            walk.freeze(flow.dims[place], node, "summed over by")
    lead: list[Atoms | None] = []
    for place in range(-len(q.shape), -2):
        heads = q.dims[place]
        for flow in (k, v):
            heads = walk.tie(heads, _spread(flow, place, q.shape[place]), node)
        if mask is not None and len(mask.shape) >= -place and mask.shape[place] == q.shape[place] > 1:
            heads = walk.tie(heads, mask.dims[place], node)
        _heads(walk, node, heads)
        lead.append(heads)
    walk.mark("head_size", v.dims[-1])
    inputs = [flow for flow in (q, k, v, mask) if flow is not None and flow.tensor is None]
    return walk.record(node, "other", inputs, Flow(shape, (*lead, None, v.dims[-1])))


def _size(walk: Walk, node: Node, q: Flow, k: Flow, *, scaled: bool) -> None:
    """The width that queries and keys are multiplied over."""
    size = walk.tie(q.dims[-1], k.dims[-1], node)
    if size is None:
        return
    walk.mark("head_size", size)
    if scaled:
        walk.table.contract(size)
    else:
        walk.freeze(size, node, "it sets the scale of")


def _spread(flow: Flow, place: int, size: int) -> Atoms | None:
    """The heads of keys or values as the queries see them: each one several times where it is shared."""
    atoms = flow.dims[place]
    return atoms if atoms is None or len(atoms) == size else np.repeat(atoms, size // len(atoms))
