"""Rules of elementwise functions, arithmetic with broadcasting, and normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.fx import Node

from autoprune.graph.flow import Flow, Result, Unknown, repeat_first, shape_of
from autoprune.graph.walk import Walk, rule

__all__: list[str] = []

# ATen base names; overloads and in-place forms included
FREE = """dropout alpha_dropout feature_dropout contiguous clone detach alias lift_fresh_copy to _to_copy type_as
    requires_grad float double half bfloat16"""
UNARY = """relu relu6 hardtanh clamp clamp_min clamp_max leaky_relu elu selu celu silu mish gelu sigmoid hardsigmoid
    hardswish tanh softplus softsign log_sigmoid logsigmoid hardshrink softshrink tanhshrink threshold exp expm1 log
    log1p sqrt rsqrt square abs neg reciprocal sign erf sin cos round floor ceil trunc zeros_like ones_like full_like
    nan_to_num"""
PAIRWISE = """add sub rsub mul div multiply divide true_divide maximum minimum pow lerp addcmul addcdiv where atan2
    fmod remainder floor_divide eq ne lt le gt ge logical_and logical_or masked_fill copy fill zero"""


@rule(*FREE.split())
def free(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """Nothing happens to the values, or nothing that costs."""
    x = walk.need(args.get("self", args.get("input")))
    return x.keeps(x.dims)


@rule("_assert_tensor_metadata", "_assert_scalar", "_assert_async")
def check(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """A check that the exporter left behind (after `torch.as_tensor`, say): it changes nothing."""
    return None


@rule(*UNARY.split())
def unary(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """Each element on its own."""
    x = walk.need(args.get("self", args.get("input")))
    if any(walk.flow(value) is not None for name, value in args.items() if name not in ("self", "input")):
        raise Unknown
    if x.tensor is not None:
        return x
    return walk.record(node, "relu", [x], Flow(x.shape, x.dims))


@rule(*PAIRWISE.split())
def pairwise(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """Arithmetic on tensors: equal places are tied, sizes of 1 are broadcast."""
    operands = [flow for flow in map(walk.flow, args.values()) if flow is not None]
    shape = shape_of(node)
    if shape is None or not operands:
        raise Unknown
    output = broadcast(walk, node, operands, shape)
    activations = [flow for flow in operands if flow.tensor is None]
    if not activations:
        return output
    kind = "add" if len(operands) > 1 else "relu"
    params = [flow for flow in operands if flow.tensor is not None]
    return walk.record(node, kind, activations, output, params)


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
    only_tensors = all(flow.tensor is not None for flow in operands)
    return Flow(shape, tuple(dims), operands[0].tensor if only_tensors else None)


@rule("prelu")
def prelu(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """A slope for all channels, or one for each."""
    x, weight = walk.need(args["self"]), walk.need(args["weight"])
    if weight.shape != (1,) and len(x.shape) > 1:
        walk.tie(x.dims[1], weight.dims[0], node)
        walk.attribute(node, (weight,), "num_parameters", x.dims[1])
    return walk.record(node, "relu", [x], Flow(x.shape, x.dims), [weight])


@rule("batch_norm", "instance_norm")
def channel_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """Each channel by its own statistics: the channel stays what it is."""
    x = walk.need(args["input"])
    params = tuple(walk.flow(args[name]) for name in ("weight", "bias", "running_mean", "running_var"))
    for flow in params:
        if flow is not None:
            walk.tie(x.dims[1], flow.dims[0], node)
    walk.attribute(node, params, "num_features", x.dims[1])
    return walk.record(node, "batch_norm", [x], Flow(x.shape, x.dims), params)


@rule("group_norm")
def group_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """Statistics over a group's channels: only whole groups can go, and the others do not notice."""
    x, groups = walk.need(args["input"]), int(args["num_groups"])
    params = tuple(walk.flow(args[name]) for name in ("weight", "bias"))
    channels = x.dims[1]
    if groups == 1 or channels is None:
        walk.freeze(channels, node, "normalised over by")
    else:
        size = x.shape[1] // groups
        units = repeat_first(channels, size)
        walk.table.tie(np.repeat(units, size), channels)
        walk.attribute(node, params, "num_groups", units)
        walk.attribute(node, params, "num_channels", channels)
    for flow in params:
        if flow is not None:
            walk.tie(channels, flow.dims[0], node)
    return walk.record(node, "other", [x], Flow(x.shape, x.dims), params)


@rule("layer_norm", "rms_norm")
def layer_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """Statistics over the last dimensions: removing a unit would change all others, so they stay."""
    x, rank = walk.need(args["input"]), len(args["normalized_shape"])
    params = tuple(walk.flow(args.get(name)) for name in ("weight", "bias"))
    for back in range(rank, 0, -1):
        walk.freeze(x.dims[-back], node, "normalised over by")
        for flow in params:
            walk.freeze(None if flow is None else flow.dims[-back], node, "normalised over by")
    return walk.record(node, "other", [x], Flow(x.shape, x.dims), params)


@rule("_weight_norm")
def weight_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Result:
    """``g * v / |v|`` with a length for each row: rows can go, columns are part of every row's length."""
    v, g = walk.need(args["v"]), walk.need(args["g"])
    if int(args["dim"]) != 0 or v.tensor is None:
        raise Unknown
    rows = walk.tie(v.dims[0], g.dims[0], node)
    for atoms in v.dims[1:]:
        walk.freeze(atoms, node, "normalised over by")
    output = Flow(v.shape, (rows, *(None,) * (len(v.shape) - 1)), v.tensor)
    return walk.record(node, "other", [], output, [v, g])
