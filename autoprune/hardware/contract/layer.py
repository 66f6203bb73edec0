"""What a runtime executes, described without a model: the key of a table's entry. No torch.

Two layers of different models with the same key cost the same on one device and runtime, so tables merge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoprune.errors import InputError
from autoprune.foundations.files import shortened

__all__ = ["BORDERS", "Layer", "whole", "with_variant"]

BORDERS = ("quantize", "dequantize")
"""Kinds of layers that turn float32 into integers and back."""


@dataclass(frozen=True)
class Layer:
    """One operator with every size fixed.

    Attributes:
        kind: `conv`, `linear`, `pool`, `elementwise` (anything that reads and writes every element once); `quantize`
            and `dequantize`: from float32 to integers and back, between layers of which one computes with integers.
        batch: Leading dimension; for a linear layer the number of rows.
        inputs: Input channels or features.
        outputs: Output channels or features.
        size: Spatial extent of the input, () for a linear layer.
        out_size: Spatial extent of the output.
        kernel: Kernel extent, () for a pool over everything.
        stride: Stride in every spatial dimension.
        padding: Padding in every spatial dimension, both sides alike.
        dilation: Dilation in every spatial dimension.
        groups: Groups of a convolution; equal to `inputs` when depthwise.
        bias: Whether a bias is added; a folded BatchNorm is one.
        variant: What else distinguishes its kernel from the plain one: `2:4` for sparse weights, `int8`; else empty.
    """

    kind: str
    inputs: int
    outputs: int
    batch: int = 1
    size: tuple[int, ...] = ()
    out_size: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = True
    variant: str = ""

    @property
    def family(self) -> str:
        """The key without the widths: layers of one family differ in their numbers of channels only."""
        depthwise = self.kind == "conv" and self.groups == self.inputs > 1
        words = [self.kind, f"n{self.batch}"]
        if self.kind in ("conv", "pool"):
            words += [f"k{_by(self.kernel)}", f"s{_by(self.stride)}", f"p{_by(self.padding)}"]
        if self.kind == "conv":
            words += [f"d{_by(self.dilation)}", "depthwise" if depthwise else f"g{self.groups}"]
        if self.kind in ("conv", "linear"):
            words.append("bias" if self.bias else "plain")
        words += [self.variant] if self.variant else []
        return " ".join([*words, f"{_by(self.size)}->{_by(self.out_size)}"])

    @property
    def key(self) -> str:
        """The identity of the entry, readable: `conv n1 k3x3 s1x1 p1x1 d1x1 g1 bias 28x28->28x28 in16 out32`."""
        return f"{self.family} in{self.inputs} out{self.outputs}"

    @property
    def group(self) -> str:
        """Which correction factor applies: `1x1`, `3x3`, `depthwise` or `other`, of integers apart, or `border`."""
        if self.kind in BORDERS:
            return "border"
        return f"{self.variant} {self._form}" if self.variant == "int8" else self._form

    @property
    def _form(self) -> str:
        if self.kind != "conv":
            return "other"
        if self.groups == self.inputs > 1:
            return "depthwise"
        if math.prod(self.kernel) == 1:
            return "1x1"
        return "3x3" if self.kernel == (3, 3) else "other"

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for a layer without weights."""
        if self.kind == "linear":
            return self.batch * self.inputs * self.outputs
        if self.kind != "conv":
            return 0
        per_output = self.inputs // self.groups * math.prod(self.kernel)
        return self.batch * self.outputs * math.prod(self.out_size) * per_output

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input tensor: (batch, inputs, *size)."""
        return (self.batch, self.inputs, *self.size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output tensor: (batch, outputs, *out_size)."""
        return (self.batch, self.outputs, *self.out_size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight of a convolution or a linear layer."""
        return (self.outputs, self.inputs // self.groups, *self.kernel)

    def to_json(self) -> dict[str, Any]:
        """The fields by name; the variant only where there is one, so that files stay as they were without."""
        content = asdict(self)
        if not self.variant:
            del content["variant"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Layer:
        """The inverse of `to_json`; lists become tuples.

        Raises:
            InputError: If a field is of the wrong kind, or no size that a layer can have.
            TypeError: If a field is unknown or missing.
        """
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
        layer = cls(**fields)
        if type(layer.kind) is not str or type(layer.bias) is not bool or type(layer.variant) is not str:
            about = f"the kind {layer.kind!r:.40}, variant {layer.variant!r:.40}, with the bias {layer.bias!r:.40}"
            raise InputError(f"a layer of {about}")
        for name in ("inputs", "outputs", "batch", "groups"):
            whole(getattr(layer, name), f"{name} of a layer", least=1)
        for name in ("size", "out_size", "kernel", "stride", "padding", "dilation"):
            extents = getattr(layer, name)
            for extent in extents if isinstance(extents, tuple) else (extents,):
                whole(extent, f"{name} of a layer")
            if not isinstance(extents, tuple):
                raise InputError(f"{name} of a layer is {extents}, not a list")
        return layer


def with_variant(layer: Layer, precision: str) -> Layer:
    """The layer as a target of a precision executes it: with weights in integers where that is `int8`."""
    return replace(layer, variant="int8") if precision == "int8" and layer.macs else layer


def whole(value: object, what: str, *, least: int = 0) -> int:
    """A whole number that counts something in a layer.

    Args:
        value: Of a file.
        what: Its name, for the message.
        least: The smallest that makes sense.

    Raises:
        InputError: If it is another type, below `least`, or beyond 31 bits.
    """
    if type(value) is not int or not least <= value < 2**31:
        raise InputError(f"{what} is {shortened(repr(value), 40)}, not a whole number from {least} up")
    return value


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers)) or "-"
