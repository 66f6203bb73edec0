"""Folding BatchNorm into the convolution before it, on an exported graph: what every deployed network has done."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from autoprune.errors import UnsupportedModelError
from autoprune.export.naming import rename_reserved
from autoprune.graph.trace.quiet import quiet
from autoprune.models import with_tensor_output
from autoprune.models.inputs.example import as_example

__all__ = ["fold_batch_norm"]

_ATEN = torch.ops.aten
_SPATIAL: dict[object, int] = {  # operator -> dimensions behind the one that it makes
    _ATEN.conv1d.default: 1,
    _ATEN.conv2d.default: 2,
    _ATEN.conv3d.default: 3,
    _ATEN.conv1d.padding: 1,
    _ATEN.conv2d.padding: 2,
    _ATEN.conv3d.padding: 3,
    _ATEN.linear.default: 0,
}


def fold_batch_norm(model: nn.Module, example: Any, *, dynamic_shapes: Any = None) -> fx.GraphModule:
    """A copy of the model in evaluation mode, as a graph, with every BatchNorm folded where that is exact.

    A BatchNorm over running statistics that follows a convolution or a linear layer, normalises over the features that
    it makes, and alone reads its output, is y = s * (w x + b - mean) + beta with s = gamma / sqrt(var + eps): weight
    s * w, bias beta + s * (b - mean). One over the tokens behind a linear layer stays.

    Args:
        model: Any module that `torch.export` can trace; left as it was.
        example: The input, or the inputs as `as_example` takes them, with the batch dimension that is wanted.
        dynamic_shapes: Dimensions that stay open, as `torch.export.export` takes them.

    Returns:
        A module that computes the same tensor as `output_of(model.eval()(...))` to float tolerance.

    Raises:
        UnsupportedModelError: If the model cannot be exported.
    """
    given = as_example(example).copied()
    frozen = with_tensor_output(model).to(given.tensors()[0].device)  # it may have been trained elsewhere
    try:
        with quiet():
            program = torch.export.export(frozen, given.args, dict(given.kwargs), dynamic_shapes=dynamic_shapes)
            module = rename_reserved(program).module(check_guards=False)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedModelError(f"torch.export cannot trace this model: {first[:300]}") from error
    if not isinstance(module, fx.GraphModule):
        raise UnsupportedModelError("torch.export returned no graph for this model")
    graph = module.graph
    with torch.no_grad():
        for node in list(graph.nodes):
            if node.target is _ATEN.batch_norm.default and _foldable(node):
                _fold(module, node)
    graph.eliminate_dead_code()
    _drop_unread(module)
    module.recompile()
    return module


def _foldable(norm: fx.Node) -> bool:
    producer, _, _, mean, variance, training = norm.args[:6]
    return (
        isinstance(producer, fx.Node)
        and producer.target in _SPATIAL
        and len(producer.users) == 1
        and _is_over_channels(producer)
        and mean is not None
        and variance is not None
        and not training
        and _is_constant(producer.args[1])
        and (len(producer.args) < 3 or producer.args[2] is None or _is_constant(producer.args[2]))
    )


def _is_over_channels(producer: fx.Node) -> bool:
    """Whether dimension 1, which a BatchNorm normalises, is the one that the operator makes.

    Behind a linear layer on (N, T, features) it is T, behind a convolution of a single image (C, H, W) it is H.
    """
    output, weight = (node.meta.get("val") for node in (producer, producer.args[1]) if isinstance(node, fx.Node))
    if not isinstance(output, Tensor) or not isinstance(weight, Tensor):
        return False
    spatial = _SPATIAL[producer.target]
    return output.dim() == spatial + 2 and weight.dim() == spatial + 2


def _is_constant(argument: object) -> bool:
    return isinstance(argument, fx.Node) and argument.op == "get_attr"


def _fold(module: fx.GraphModule, norm: fx.Node) -> None:
    producer = norm.args[0]
    if not isinstance(producer, fx.Node):
        raise TypeError("a BatchNorm without a producer cannot be folded")
    gamma, beta, mean, variance = (_read(module, argument) for argument in norm.args[1:5])
    epsilon = float(norm.args[7]) if len(norm.args) > 7 else 1e-5  # type: ignore[arg-type]
    weight = _read(module, producer.args[1])
    bias = _read(module, producer.args[2]) if len(producer.args) > 2 else None
    if weight is None or mean is None or variance is None:
        raise TypeError("a BatchNorm over running statistics has a mean and a variance")
    scale = torch.rsqrt(variance + epsilon)
    if gamma is not None:
        scale = scale * gamma
    shift = -mean * scale if bias is None else (bias - mean) * scale
    if beta is not None:
        shift = shift + beta
    folded = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    with module.graph.inserting_before(producer):
        new_weight = module.graph.get_attr(_store(module, f"{norm.name}_weight", folded))
        new_bias = module.graph.get_attr(_store(module, f"{norm.name}_bias", shift))
    # The rest of a convolution's arguments (stride, padding, ...) stay; a linear layer has none.
    producer.args = (producer.args[0], new_weight, new_bias, *producer.args[3:])
    producer.kwargs = {key: value for key, value in producer.kwargs.items() if key != "bias"}
    norm.replace_all_uses_with(producer)
    module.graph.erase_node(norm)


def _read(module: fx.GraphModule, argument: object) -> Tensor | None:
    """The tensor behind a `get_attr` node; None for an argument that was None."""
    if not isinstance(argument, fx.Node):
        return None
    found: object = module
    for part in str(argument.target).split("."):
        found = getattr(found, part)
    return found if isinstance(found, Tensor) else None


def _store(module: fx.GraphModule, name: str, value: Tensor) -> str:
    name = f"folded_{name}"
    module.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
    return name


def _drop_unread(module: fx.GraphModule) -> None:
    """Remove parameters that nothing reads any more, so that they are neither loaded nor looked up."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for owner_name, owner in module.named_modules():
        prefix = f"{owner_name}." if owner_name else ""
        for name in [n for n in (*owner._parameters, *owner._buffers) if prefix + n not in read]:
            delattr(owner, name)
