"""Rules of elementwise functions and arithmetic with broadcasting."""

from __future__ import annotations

import torch
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Statistic, Unknown, for_each_result, shape_of
from autoprune.graph.coupling.rule_table import Arguments, base_name, rule
from autoprune.graph.coupling.walk import Walk

__all__ = ["elementwise"]

# ATen base names; overloads and in-place forms included. What torch tags as pointwise needs no name here.
FREE = """dropout alpha_dropout feature_dropout feature_alpha_dropout contiguous clone detach alias lift_fresh_copy to
    _to_copy type_as requires_grad float double half bfloat16"""
UNTAGGED = """abs relu6 gelu mish hardswish softsign log_sigmoid logsigmoid tanhshrink threshold rrelu zeros_like
    ones_like full_like where eq ne lt le gt ge masked_fill copy fill zero rsub multiply divide true_divide floor_divide
    absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh negative greater greater_equal less less_equal
    not_equal fix isreal isclose real imag conj resolve_conj resolve_neg complex polar special_expit special_erf
    special_erfc special_erfinv special_exp2 special_expm1 special_log1p special_logit special_sinc special_round
    special_gammaln special_digamma special_psi special_multigammaln special_polygamma special_i0 special_xlogy
    special_gammainc special_gammaincc special_ndtr fake_quantize_per_tensor_affine"""
"""Elementwise, but not in all their forms tagged so by torch."""
DRAWN = "empty_like rand_like randn_like bernoulli normal uniform exponential"  # each number on its own
_SCALED = ["mul", "multiply"]
"""Products, where the second parameter scales what the first makes."""
_DIVIDED = {"div", "divide", "true_divide", "floor_divide", "fmod", "remainder", "pow", "float_power", "atan2"}
"""Where the first parameter at 0 is enough, and the second at 0 would be too much."""


@rule(*FREE.split(), figures=True)
def free(walk: Walk, node: Node, args: Arguments) -> Result:
    """Nothing happens to the values, or nothing that costs."""
    x = walk.need(args.get("self", args.get("input")))
    return x.keeps(x.dims)


@rule("_assert_tensor_metadata", "_assert_scalar", "_assert_async")
def check(walk: Walk, node: Node, args: Arguments) -> Result:
    """A check that the exporter left behind (after `torch.as_tensor`, say): it changes nothing."""
    return None


@rule(*UNTAGGED.split(), *DRAWN.split(), tag=torch.Tag.pointwise, figures=True)
def elementwise(walk: Walk, node: Node, args: Arguments) -> Result:
    """Functions of each element, and arithmetic on tensors: equal places are tied, sizes of 1 are broadcast."""
    operands = [flow for flow in map(walk.flow, args.values()) if flow is not None]
    shape = shape_of(node)
    if shape is None or not operands:
        raise Unknown
    output = broadcast(walk, node, operands, shape)
    params = [flow for flow in operands if flow.tensor is not None]
    if base_name(node) not in _DIVIDED:
        walk.share(node, output, params, made=base_name(node) not in _SCALED)
    if (weight := walk.as_weight(node, output, params)) is not None:
        return for_each_result(node, weight)
    activations = [flow for flow in operands if flow.tensor is None]
    kind = "add" if len(operands) > 1 else "relu"
    return for_each_result(node, walk.record(node, kind, activations, output, params))


def broadcast(walk: Walk, node: Node, operands: list[Flow], shape: tuple[int, ...]) -> Flow:
    """Tie the operands' dimensions, aligned from the right."""
    dims = []
    for back in range(len(shape), 0, -1):
        size = shape[-back]
        sides = [f.dims[-back] for f in operands if len(f.shape) >= back and f.shape[-back] == size]
        found = sides[0] if sides and size > 1 else None
        for side in sides[1:] if size > 1 else ():
            found = walk.tie(found, side, node)
        dims.append(found)
    return Flow(shape, tuple(dims), over=_figures(walk, operands, tuple(dims), shape))


def _figures(
    walk: Walk, operands: list[Flow], dims: tuple[Atoms | None, ...], shape: tuple[int, ...]
) -> tuple[Statistic, ...]:
    """What becomes of figures over a width: they end where they scale that width, and leak anywhere else."""
    left: dict[Statistic, None] = {}
    for flow in operands:
        for figure in flow.over:
            found = dims[figure.axis]
            if shape[figure.axis] == 1:
                left[figure] = None
            elif found is None:
                walk.leak([flow])
            else:
                walk.scaled.append((figure, found))
    return tuple(left)


@rule("isin", "bucketize")
def looked_up(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each element compared with all of a list, which must stay whole."""
    x = walk.need(args.get("elements", args.get("self")))
    listed = walk.need(args.get("test_elements", args.get("boundaries")))
    for atoms in listed.dims:
        walk.freeze(atoms, node, "compared with each other by")
    return walk.record(node, "relu", [x], Flow(x.shape, x.dims))


@rule("broadcast_tensors")
def broadcast_tensors(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each tensor repeated to the size that all of them have together."""
    operands, shape = [walk.need(part) for part in args["tensors"]], shape_of(node)
    if shape is None:
        raise Unknown
    dims = broadcast(walk, node, operands, shape).dims
    return tuple(Flow(shape, dims) for _ in operands)


@rule("prelu")
def prelu(walk: Walk, node: Node, args: Arguments) -> Result:
    """A slope for all channels, or one for each."""
    x, weight = walk.need(args["self"]), walk.need(args["weight"])
    if weight.shape != (1,) and len(x.shape) > 1:
        walk.tie(x.dims[1], weight.dims[0], node)
        walk.note_attributes(node, (weight,), num_parameters=x.dims[1])
    return walk.record(node, "relu", [x], Flow(x.shape, x.dims), [weight])
