"""Rules of the operators that sum over channels: convolutions, linear layers, products with a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown, fixed, repeat_first, shape_of
from autoprune.graph.coupling.rule_table import Arguments, base_name, rule
from autoprune.graph.coupling.rules.einsum import contract, product_letters
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.size_origins import origin_of_last
from autoprune.graph.trace.source_lines import where

__all__: list[str] = []

_SPATIAL = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
_TRANSPOSED = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}


def _tuple(value: Any, length: int) -> tuple[int, ...]:
    """A setting for each spatial dimension; "same"/"valid" padding is not a number."""
    if isinstance(value, int):
        return (value,) * length
    numbers = tuple(int(v) for v in value) if isinstance(value, list | tuple) else ()
    return numbers * length if len(numbers) == 1 else numbers


def _padding(value: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    if value == "valid":
        return (0,) * len(kernel)
    if value == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return _tuple(value, len(kernel))


@rule(*_SPATIAL, *_TRANSPOSED)
def convolution(walk: Walk, node: Node, args: Arguments) -> Result:
    """Output rows make units, input columns read them; groups tie within or across."""
    x, weight, bias = walk.need(args["input"]), walk.need(args["weight"]), walk.flow(args["bias"])
    name = base_name(node)
    transposed, rank = name in _TRANSPOSED, {**_SPATIAL, **_TRANSPOSED}[name]
    shape = shape_of(node)
    if shape is None or len(x.shape) != rank + 2:
        raise Unknown
    alone = 1 < int(args["groups"]) == x.shape[1]  # each channel by itself: no column that would have to be silenced
    if weight.tensor is None and not alone:
        x, weight, bias = _stuck(walk, node, x), _stuck(walk, node, weight), bias and _stuck(walk, node, bias)
    for atoms in (*weight.dims[2:], *x.dims[2:]):
        walk.freeze(atoms, node)
    made, units = _coupled(walk, node, x, weight, bias, int(args["groups"]), transposed)
    walk.note_attributes(node, (weight, bias), in_channels=x.dims[1], out_channels=made, groups=units)
    output = Flow(shape, (x.dims[0], made, *(None,) * rank))
    return _recorded(walk, node, args, (x, weight, bias), output, units, transposed)


def _coupled(
    walk: Walk, node: Node, x: Flow, weight: Flow, bias: Flow | None, groups: int, transposed: bool
) -> tuple[Atoms | None, Atoms | None]:
    """Tie the channels that a convolution reads and makes; returns as `_grouped`."""
    made, read = (weight.dims[1], weight.dims[0]) if transposed else (weight.dims[0], weight.dims[1])
    if groups == 1:
        walk.multiply(node, [(x.dims[1], read)], made, bias)
        return made, None
    made, units = _grouped(walk, node, x, weight, groups, transposed)
    walk.multiply(node, [], made, bias, owned=weight.tensor is not None)
    if units is None:
        walk.table.read(read)
    walk.counts.add(origin_of_last(node, groups), units)
    return made, units


def _recorded(
    walk: Walk,
    node: Node,
    args: Arguments,
    tensors: tuple[Flow, Flow, Flow | None],
    output: Flow,
    units: Atoms | None,
    transposed: bool,
) -> Flow:
    """List a convolution with its settings; returns ``output``.

    Args:
        walk: The walk.
        node: The convolution.
        args: Its arguments by name.
        tensors: Input, weight and bias.
        output: The output's flow.
        units: The atom of each group where whole groups go.
        transposed: Whether it is a transposed one.
    """
    x, weight, bias = tensors
    groups, kernel = int(args["groups"]), weight.shape[2:]
    dilation = _tuple(args["dilation"], len(kernel))
    return walk.record(
        node,
        "depthwise" if groups > 1 and groups == x.shape[1] else "conv",
        [x],
        output,
        (weight, bias),
        kernel=kernel,
        stride=_tuple(args["stride"], len(kernel)),
        padding=_padding(args["padding"], kernel, dilation),
        dilation=dilation,
        groups=groups if units is None else units,
        bias=bias is not None,
        transposed=transposed,
    )


def _stuck(walk: Walk, node: Node, flow: Flow) -> Flow:
    """A tensor whose widths must stay: the layer's weight is itself computed, so no column can be silenced."""
    walk.freeze_all([flow], f"meets a computed weight in {where(node)}")
    return Flow(flow.shape, (None,) * len(flow.shape), flow.tensor)


def _grouped(
    walk: Walk, node: Node, x: Flow, weight: Flow, groups: int, transposed: bool
) -> tuple[Atoms | None, Atoms | None]:
    """Tie a grouped convolution's channels: whole groups go, or the same channels of every group.

    Both keep the weight rectangular. Whole groups give ``groups`` units and couple input to output; the other
    way leaves the two sides free of each other. The finer interpretation is tried first; a failed validation flips it.

    Returns:
        The atoms of the output channels, and the atom of each group where whole groups go (else None).
    """
    inputs, whole = x.dims[1], x.shape[1] // groups
    outputs = weight.shape[1] if transposed else weight.shape[0] // groups
    rows = weight.dims[0]
    if inputs is None and rows is not None and not transposed:  # of the image itself: the same rows of each group go
        walk.freeze(weight.dims[1], node)
        walk.table.tie(np.tile(rows[:outputs], groups), rows)
        return rows, None
    if inputs is None or rows is None:
        for atoms in (inputs, *weight.dims):
            walk.freeze(atoms, node, "meets a tensor of fixed width in")
        made = weight.dims[0] if not transposed else None
        return made, None
    by_group = groups >= max(whole, outputs)
    if 1 not in (whole, outputs) and walk.choose_interpretation(node, np.concatenate([inputs, rows])):
        by_group = not by_group
    if by_group:
        walk.freeze(weight.dims[1], node)
        units = repeat_first(inputs, whole)
        walk.table.tie(np.repeat(units, whole), inputs)
        walk.table.tie(np.repeat(units, weight.shape[0] // groups), rows)
        return (np.repeat(units, outputs) if transposed else rows), units
    if transposed:
        # The rows are the inputs, and the columns are shared by all groups.
        walk.table.tie(inputs, rows)
        walk.table.tie(np.tile(inputs[:whole], groups), inputs)
        columns = weight.dims[1]
        return (None if columns is None else np.tile(columns, groups)), None
    columns = weight.dims[1]
    if columns is None:
        walk.freeze(inputs, node)
    else:
        walk.table.tie(np.tile(columns, groups), inputs)
    walk.table.tie(np.tile(rows[:outputs], groups), rows)
    return rows, None


@rule("linear")
def linear(walk: Walk, node: Node, args: Arguments) -> Result:
    """``x @ weight.T + bias`` over the last dimension."""
    x, weight, bias = walk.need(args["input"]), walk.need(args["weight"]), walk.flow(args["bias"])
    if len(weight.shape) != 2:
        raise Unknown
    if weight.tensor is None:
        x, weight, bias = _stuck(walk, node, x), _stuck(walk, node, weight), bias and _stuck(walk, node, bias)
    return _product(walk, node, x, weight, bias, out=0)


@rule("addmm")
def addmm(walk: Walk, node: Node, args: Arguments) -> Result:
    """``self + mat1 @ mat2`` with a parameter on the right."""
    bias, x, weight = walk.need(args["self"]), walk.need(args["mat1"]), walk.need(args["mat2"])
    if weight.tensor is None or bias.tensor is None or len(bias.shape) != 1:
        raise Unknown
    return _product(walk, node, x, weight, bias, out=1)


@rule("mm", "matmul", "bmm")
def matmul(walk: Walk, node: Node, args: Arguments) -> Result:
    """A product of an activation with a parameter, or of two activations."""
    x, weight = walk.need(args["self"]), walk.need(args.get("mat2", args.get("other")))
    if weight.tensor is None or x.tensor is not None or len(weight.shape) != 2 or len(x.shape) < 2:
        return contract(walk, node, [x, weight], *product_letters(x, weight))
    return _product(walk, node, x, weight, None, out=1)


def _product(walk: Walk, node: Node, x: Flow, weight: Flow, bias: Flow | None, *, out: int) -> Result:
    made, read = weight.dims[out], weight.dims[1 - out]
    shape = shape_of(node)
    if shape is None:
        raise Unknown
    walk.multiply(node, [(x.dims[-1], read)], made, bias)
    params = (weight, bias)
    walk.note_attributes(node, params, in_features=x.dims[-1], out_features=made)
    output = Flow(shape, (*x.dims[:-1], made))
    if out == 0:
        return walk.record(node, "linear", [x], output, params, bias=bias is not None)
    return walk.record(node, "linear", [x], output, (_transposed(weight), bias), bias=bias is not None)


def _transposed(weight: Flow) -> Flow:
    """A matrix as a linear layer keeps it: (out, in)."""
    return Flow(weight.shape[::-1], weight.dims[::-1], weight.tensor)


@rule("embedding", "embedding_bag", "_embedding_bag")
def embedding(walk: Walk, node: Node, args: Arguments) -> Result:
    """Rows of a table, looked up, or summed by bags: its columns are the units."""
    weight, shape = walk.need(args["weight"]), shape_of(node)
    walk.freeze(weight.dims[0], node, "looked up by number in")
    walk.table.made(weight.dims[1])
    if shape is None:
        raise Unknown
    walk.note_attributes(node, (weight,), embedding_dim=weight.dims[1])
    walk.mark("embedding", weight.dims[1])
    shares = walk.flow(args.get("per_sample_weights"))
    walk.freeze_all([shares] if shares is not None else [], f"weighs rows in {where(node)}")
    output = Flow(shape, (*(None,) * (len(shape) - 1), weight.dims[1]))
    walk.record(node, "other", [walk.flow(args["indices"]), shares], output, [weight])
    rest = fixed(node)  # which bag each row went to
    return (output, *rest[1:]) if isinstance(rest, tuple) else output
