"""From a model's operators to the layers that a runtime executes: what is fused, what is free, what is priced."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from autoprune.errors import InputError
from autoprune.graph import Analysis, Extent, Op, tied
from autoprune.graph.operators import is_free, operator_name
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.tables.operator import Form, Slot
from autoprune.space import STRUCTURED, SearchSpace

__all__ = ["slots_of"]

_WEIGHTED = ("conv", "depthwise", "linear")

Size = Extent | int


def slots_of(analysis: Analysis, space: SearchSpace, batch: int, fused: Iterable[str]) -> tuple[Slot, ...]:
    """The operators of a model that take time on a runtime, in forward order.

    An operator of `fused` that follows a convolution or linear layer, and keeps its shape, is executed inside it.
    (Forward order stands for data flow here: the graph's edges are not part of an analysis. A wrong guess costs one
    elementwise pass, and the correction that is fitted on whole networks takes it up.)

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
    inside = frozenset(fused)
    slots: list[Slot] = []
    carrier: tuple[Size, ...] | None = None  # the shape up to which the last weighted operator reaches
    for op in analysis.ops:
        if is_free(op):
            continue
        if op.kind not in _WEIGHTED and operator_name(op) in inside and op.output == carrier:
            continue
        blocks = tuple(name for name in analysis.enclosing_blocks(op.node) if name in space.names)
        slots.append(replace(lowering.slot(op), blocks=blocks))
        carrier = op.output if op.kind in _WEIGHTED else None
    return tuple(slots)


class _Lowering:
    """Sizes of operators as forms over the decisions."""

    def __init__(self, fixed: Mapping[str, int], batch: int) -> None:
        self._fixed = fixed
        self._batch = batch

    def slot(self, op: Op) -> Slot:
        if op.kind in ("conv", "depthwise") and op.inputs:
            return self._convolution(op)
        if op.kind == "linear" and op.inputs:
            return self._linear(op)
        return self._pointwise(op)

    def _convolution(self, op: Op) -> Slot:
        source, result = op.inputs[0], op.output
        if op.transposed:  # the convolution the other way round does the same multiplications
            source, result = result, source
        inputs, outputs, groups = self._form(source[1]), self._form(result[1]), self._form(op.groups)
        layer = Layer(
            "conv",
            _dense(source[1]),
            _dense(result[1]),
            batch=self._batch * _dense(source[0]),
            size=tuple(map(_dense, source[2:])),
            out_size=tuple(map(_dense, result[2:])),
            kernel=op.kernel,
            stride=op.stride,
            padding=op.padding,
            dilation=op.dilation,
            groups=_dense(op.groups),
        )
        return Slot(op.name, layer, inputs, outputs, groups)

    def _linear(self, op: Op) -> Slot:
        source = op.inputs[0]
        rows = self._batch * math.prod(map(_dense, source[:-1])) if len(source) > 1 else 1
        layer = Layer("linear", _dense(source[-1]), _dense(op.output[-1]), batch=rows, bias=op.bias)
        return Slot(op.name, layer, self._form(source[-1]), self._form(op.output[-1]))

    def _pointwise(self, op: Op) -> Slot:
        """Anything without weights of its own: every element is read and written once."""
        pooling = op.kind == "pool" and bool(op.inputs)
        shape = op.inputs[0] if pooling else op.output
        axis = next((i for i, size in enumerate(shape) if i and isinstance(size, Extent)), 1)
        if len(shape) <= axis:
            shape, axis = (1, math.prod(map(_dense, shape))), 1
        batch = self._batch * _dense(shape[0])  # what else is folded into the batch: windows, positions
        size = tuple(_dense(extent) for i, extent in enumerate(shape) if i not in (0, axis))
        channels, width = self._form(shape[axis]), _dense(shape[axis])
        if not (pooling and size):
            return Slot(op.name, Layer("elementwise", width, width, batch, size, size), channels, channels)
        out_size = tuple(map(_dense, op.output[2:])) or (1,) * len(size)
        layer = Layer("pool", width, width, batch, size, out_size, op.kernel, op.stride, op.padding)
        return Slot(op.name, layer, channels, channels)

    def _form(self, extent: Size) -> Form:
        """Groups that are no decisions keep their dense width."""
        if isinstance(extent, int):
            return Form(extent)
        constant = extent.constant + sum(many * self._fixed[name] for name, many in extent.terms if name in self._fixed)
        return Form(constant, tuple((name, many) for name, many in extent.terms if name not in self._fixed))


def _dense(extent: Size) -> int:
    return extent if isinstance(extent, int) else extent.dense
