"""From a model's operators to the layers that a runtime executes: what is fused, what is free, what is priced."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from autoprune.cost.effects import Effect
from autoprune.errors import InputError
from autoprune.graph import Analysis, Extent, Op, tied
from autoprune.graph.operators import WEIGHTED, executed
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.tables.operator import PricedOperator
from autoprune.space import STRUCTURED, Decision, SearchSpace

__all__ = ["measurable", "priced_operators"]

Size = Extent | int


def priced_operators(
    analysis: Analysis,
    space: SearchSpace,
    batch: int,
    fused: Collection[str],
    effects: Mapping[str, Effect] | None = None,
) -> tuple[PricedOperator, ...]:
    """The operators of a model that take time on a runtime, in forward order.

    Args:
        analysis: The model's operators, with sizes as functions of the groups' widths.
        space: The decisions; groups that are none of them have their dense width.
        batch: Batch size that is timed.
        fused: Names of the ATen operators that the runtime fuses.
        effects: Graph node -> what techniques change in it: those that name a `variant` make it another layer.

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
    formats = _Formats.of(analysis, space, effects or {})
    operators: list[PricedOperator] = []
    for op in executed(analysis.ops, fused):
        blocks = tuple(name for name in analysis.enclosing_blocks(op.node) if name in space.names)
        operators += formats.variants(op, replace(lowering.operator(op), blocks=blocks))
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


_Producers = Mapping[str, Decision | None]
"""Coupled group -> the decision on the format of the layers that write it."""


def measurable(effects: Mapping[str, Effect], variants: Collection[str]) -> dict[str, Effect]:
    """The effects whose kernel a target has, by graph node; see `Target.variants`."""
    return {node: effect for node, effect in effects.items() if effect.variant in variants}


@dataclass(frozen=True)
class _Formats:
    """The decisions on number formats of a network's operators.

    The edges of the graph are no part of an analysis: what a layer reads was written by the layers of the coupled
    group of its inputs, or, where those are none, by the latest layer of as many outputs.

    Attributes:
        decisions: Graph node -> the decision on its format.
        variants_of: Graph node -> the variant of its layer in the format that is not whole.
        writers: Group -> decision.
        before: Graph node of a layer that reads no group -> decision.
    """

    decisions: Mapping[str, Decision]
    variants_of: Mapping[str, str]
    writers: _Producers
    before: _Producers

    @classmethod
    def of(cls, analysis: Analysis, space: SearchSpace, effects: Mapping[str, Effect]) -> _Formats:
        """Those of the effects whose one decision is in the space."""
        named = {node: each for node, each in effects.items() if each.variant and each.chosen_by in space.names}
        decisions = {node: space[effect.chosen_by] for node, effect in named.items()}
        variants = {node: effect.variant for node, effect in named.items()}
        return cls(decisions, variants, *_producers(analysis, decisions))

    def variants(self, op: Op, operator: PricedOperator) -> Iterator[PricedOperator]:
        """An operator in each of its formats, and the borders before it."""
        own = self.decisions.get(op.node)
        if op.kind not in WEIGHTED or not self.decisions:
            yield operator
            return
        if own is not None:
            changed = replace(operator.layer, variant=self.variants_of[op.node])
            yield replace(operator, layer=changed, when=((own.name, own.options[0]),))
            operator = replace(operator, when=((own.name, own.width),))
        yield operator
        yield from self._borders(op, operator, own)

    def _borders(self, op: Op, operator: PricedOperator, own: Decision | None) -> Iterator[PricedOperator]:
        """What is paid where an operator reads another format than its own.

        Of a concat that several formats write, each is taken to be all of it.
        """
        read = _channels(op).scope
        producers = {self.writers.get(name) for name in read} if read else {self.before.get(op.node)}
        layer, width = operator.layer, operator.inputs
        for producer in producers - {own}:
            for kind, integers, whole in (("quantize", own, producer), ("dequantize", producer, own)):
                if integers is None:
                    continue
                when = [(integers.name, integers.options[0])]
                when += [] if whole is None else [(whole.name, whole.width)]
                border = Layer(kind, layer.inputs, layer.inputs, layer.batch, layer.size, layer.size)
                yield replace(operator, layer=border, inputs=width, outputs=width, groups=_ONE, when=tuple(when))


_ONE = Extent(1, (), 1)


def _channels(op: Op, *, written: bool = False) -> Extent:
    """The channels that a layer reads, or writes."""
    shape = op.output if written else op.inputs[0]
    size = shape[1] if op.kind != "linear" and len(shape) > 1 else shape[-1]
    return size if isinstance(size, Extent) else Extent(size, (), size)


def _producers(analysis: Analysis, decisions: Mapping[str, Decision]) -> tuple[_Producers, _Producers]:
    writers: dict[str, Decision | None] = {}
    before: dict[str, Decision | None] = {}
    latest: dict[int, Decision | None] = {}
    for op in analysis.ops:
        if op.kind not in WEIGHTED or not op.inputs:
            continue
        read, wrote, decision = _channels(op), _channels(op, written=True), decisions.get(op.node)
        if not read.terms:
            before[op.node] = latest.get(read.dense)
        latest[wrote.dense] = decision
        for name in wrote.scope:
            known = writers.setdefault(name, decision)
            writers[name] = decision if known == decision else None  # one in float32, and what they add is float32
    return writers, before
