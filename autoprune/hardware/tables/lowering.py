"""From a model's operators to the layers that a runtime executes: what is fused, what is free, what is priced."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from autoprune.errors import InputError
from autoprune.graph import Analysis, Extent, Op, tied
from autoprune.graph.operators import executed
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.tables.operator import PricedOperator
from autoprune.space import STRUCTURED, SearchSpace

__all__ = ["priced_operators"]

Size = Extent | int


def priced_operators(
    analysis: Analysis, space: SearchSpace, batch: int, fused: Collection[str]
) -> tuple[PricedOperator, ...]:
    """The operators of a model that take time on a runtime, in forward order.

    Args:
        analysis: The model's operators, with sizes as functions of the groups' widths.
        space: The decisions; groups that are none of them have their dense width.
        batch: Batch size that is timed.
        fused: Names of the ATen operators that the runtime fuses.

    Raises:
        InputError: If a decision is no group or block of the model.
    """
    analysis = tied(analysis, space.ties)
    names = analysis.widths()
    for decision in space.decisions:
        if decision.traits.technique != STRUCTURED:
            continue  # no size of an operator depends on it
        if names.get(decision.name) != decision.width:
            raise InputError(
                f"decision {decision.name!r} is no group of {decision.width} units of this model, nor a block"
            )
    lowering = _Lowering({name: width for name, width in names.items() if name not in space.names}, batch)
    operators: list[PricedOperator] = []
    for op in executed(analysis.ops, fused):
        blocks = tuple(name for name in analysis.enclosing_blocks(op.node) if name in space.names)
        operators.append(replace(lowering.operator(op), blocks=blocks))
    return tuple(operators)


class _Lowering:
    """Operators at one batch size, with sizes that follow the decisions."""

    def __init__(self, fixed: Mapping[str, int], batch: int) -> None:
        self._fixed = fixed
        self._batch = batch

    def operator(self, op: Op) -> PricedOperator:
        if op.kind in ("conv", "depthwise") and op.inputs:
            return self._convolution(op)
        if op.kind == "linear" and op.inputs:
            return self._linear(op)
        return self._pointwise(op)

    def _convolution(self, op: Op) -> PricedOperator:
        source, result = op.inputs[0], op.output
        if op.transposed:  # the convolution the other way round does the same multiplications
            source, result = result, source
        inputs, outputs, groups = self._width(source[1]), self._width(result[1]), self._width(op.groups)
        layer = Layer(
            "conv",
            inputs.dense,
            outputs.dense,
            batch=self._batch * _dense(source[0]),
            size=tuple(map(_dense, source[2:])),
            out_size=tuple(map(_dense, result[2:])),
            kernel=op.kernel,
            stride=op.stride,
            padding=op.padding,
            dilation=op.dilation,
            groups=groups.dense,
        )
        return PricedOperator(op.name, layer, inputs, outputs, groups)

    def _linear(self, op: Op) -> PricedOperator:
        source = op.inputs[0]
        rows = self._batch * math.prod(map(_dense, source[:-1])) if len(source) > 1 else 1
        inputs, outputs = self._width(source[-1]), self._width(op.output[-1])
        layer = Layer("linear", inputs.dense, outputs.dense, batch=rows, bias=op.bias)
        return PricedOperator(op.name, layer, inputs, outputs)

    def _pointwise(self, op: Op) -> PricedOperator:
        """Anything without weights of its own: every element is read and written once."""
        pooling = op.kind == "pool" and bool(op.inputs)
        shape = op.inputs[0] if pooling else op.output
        axis = next((i for i, size in enumerate(shape) if i and isinstance(size, Extent)), 1)
        if len(shape) <= axis:
            shape, axis = (1, math.prod(map(_dense, shape))), 1
        batch = self._batch * _dense(shape[0])  # what else is folded into the batch: windows, positions
        size = tuple(_dense(extent) for i, extent in enumerate(shape) if i not in (0, axis))
        channels = self._width(shape[axis])
        if not (pooling and size):
            layer = Layer("elementwise", channels.dense, channels.dense, batch, size, size)
            return PricedOperator(op.name, layer, channels, channels)
        out_size = tuple(map(_dense, op.output[2:])) or (1,) * len(size)
        layer = Layer("pool", channels.dense, channels.dense, batch, size, out_size, op.kernel, op.stride, op.padding)
        return PricedOperator(op.name, layer, channels, channels)

    def _width(self, size: Size) -> Extent:
        """A size that follows decisions alone: groups that are none of them have their dense width."""
        return Extent(size, (), size) if isinstance(size, int) else size.fixing(self._fixed)


def _dense(size: Size) -> int:
    return size if isinstance(size, int) else size.dense
