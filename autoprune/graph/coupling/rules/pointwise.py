"""Rules of elementwise functions and arithmetic with broadcasting."""

from __future__ import annotations

from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Statistic, Unknown, shape_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk

__all__: list[str] = []

# ATen base names; overloads and in-place forms included
FREE = """dropout alpha_dropout feature_dropout feature_alpha_dropout contiguous clone detach alias lift_fresh_copy to
    _to_copy type_as requires_grad float double half bfloat16"""
UNARY = """relu relu6 hardtanh clamp clamp_min clamp_max leaky_relu elu selu celu silu mish gelu sigmoid hardsigmoid
    hardswish tanh softplus softsign log_sigmoid logsigmoid hardshrink softshrink tanhshrink threshold exp expm1 log
    log1p sqrt rsqrt square abs neg reciprocal sign erf rrelu sin cos round floor ceil trunc zeros_like ones_like
    full_like nan_to_num"""
PAIRWISE = """add sub rsub mul div multiply divide true_divide maximum minimum pow lerp addcmul addcdiv where atan2
    fmod remainder floor_divide eq ne lt le gt ge logical_and logical_or masked_fill copy fill zero"""

DRAWN = "empty_like rand_like randn_like bernoulli normal uniform exponential"  # each number on its own


@rule(*FREE.split(), figures=True)
def free(walk: Walk, node: Node, args: Arguments) -> Result:
    """Nothing happens to the values, or nothing that costs."""
    x = walk.need(args.get("self", args.get("input")))
    return x.keeps(x.dims)


@rule("_assert_tensor_metadata", "_assert_scalar", "_assert_async")
def check(walk: Walk, node: Node, args: Arguments) -> Result:
    """A check that the exporter left behind (after `torch.as_tensor`, say): it changes nothing."""
    return None


@rule(*UNARY.split(), *DRAWN.split(), figures=True)
def unary(walk: Walk, node: Node, args: Arguments) -> Result:
    """Each element on its own."""
    x = walk.need(args.get("self", args.get("input")))
    if any(walk.flow(value) is not None for name, value in args.items() if name not in ("self", "input")):
        raise Unknown
    if x.tensor is not None:
        return x
    return walk.record(node, "relu", [x], Flow(x.shape, x.dims, over=x.over))


@rule(*PAIRWISE.split(), figures=True)
def pairwise(walk: Walk, node: Node, args: Arguments) -> Result:
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
    over = _figures(walk, operands, tuple(dims), shape)
    return Flow(shape, tuple(dims), operands[0].tensor if only_tensors else None, over)


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


@rule("prelu")
def prelu(walk: Walk, node: Node, args: Arguments) -> Result:
    """A slope for all channels, or one for each."""
    x, weight = walk.need(args["self"]), walk.need(args["weight"])
    if weight.shape != (1,) and len(x.shape) > 1:
        walk.tie(x.dims[1], weight.dims[0], node)
        walk.note_attributes(node, (weight,), num_parameters=x.dims[1])
    return walk.record(node, "relu", [x], Flow(x.shape, x.dims), [weight])
