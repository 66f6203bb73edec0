"""From ranges to scales and zero points, and from weights to integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.quantization.scheme import Scheme

__all__ = ["Affine", "QuantizedWeight", "activation_numbers", "quantized_bias", "quantized_weight", "rounded"]

_LEAST_SCALE = float(np.finfo(np.float32).tiny) * 2**24  # of a tensor that is zero everywhere
_LARGEST_BIAS = 2**31 - 2**24  # in steps; beyond it float32 no longer names every integer


@dataclass(frozen=True)
class Affine:
    """value = scale * (integer - zero).

    Attributes:
        scale: Above 0, a float32.
        zero: The integer of 0.0.
    """

    scale: float
    zero: int


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A weight in integers.

    Attributes:
        values: int8 or uint8, shaped as the weight.
        scales: float32 (channels,), or () for one scale of all.
        zeros: As `scales`, of the type of `values`.
    """

    values: NDArray[np.int8] | NDArray[np.uint8]
    scales: NDArray[np.float32]
    zeros: NDArray[np.int8] | NDArray[np.uint8]


def activation_numbers(low: float, high: float, scheme: Scheme) -> Affine:
    """Scale and zero point of a range; 0 is always one of its values, so that padding and ReLU are exact.

    Args:
        low: Least value of the range.
        high: Largest value.
        scheme: Says the integers.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    least, most = scheme.levels
    scale = float(np.float32(max((high - low) / (most - least), _LEAST_SCALE)))
    return Affine(scale, round(min(max(least - low / scale, least), most)))


def rounded(values: NDArray[np.float64], low: float, high: float, scheme: Scheme) -> NDArray[np.float64]:
    """Values as the integers of a range give them back."""
    numbers, (least, most) = activation_numbers(low, high, scheme), scheme.levels
    integers = np.clip(np.rint(values / numbers.scale) + numbers.zero, least, most)
    found: NDArray[np.float64] = (integers - numbers.zero) * numbers.scale
    return found


def quantized_weight(
    weight: NDArray[np.float32], axis: int, scheme: Scheme, bias: NDArray[np.float32] | None, input_scale: float
) -> QuantizedWeight:
    """A weight by its largest magnitudes.

    Where a bias would not fit into 32 bits in steps of input scale x weight scale, the weight's scale is raised.

    Args:
        weight: float32.
        axis: Its dimension of outputs.
        scheme: Says integers and scales.
        bias: (outputs,) or None.
        input_scale: Of the layer's input.
    """
    others = tuple(d for d in range(weight.ndim) if d != axis)
    largest = np.abs(weight).max(axis=others if scheme.per_channel else None)
    scales = np.maximum(largest / scheme.weight_steps, _LEAST_SCALE)
    if bias is not None:
        needed = np.abs(bias).astype(np.float64) / (input_scale * _LARGEST_BIAS)
        scales = np.maximum(scales, needed if scheme.per_channel else needed.max())
    scales = scales.astype(np.float32)
    shape = [-1 if d == axis else 1 for d in range(weight.ndim)] if scheme.per_channel else [1] * weight.ndim
    kind = np.int8 if scheme.weights == "s8" else np.uint8
    steps = np.clip(np.rint(weight / scales.reshape(shape)), -scheme.weight_steps, scheme.weight_steps)
    values = (steps + scheme.weight_zero).astype(kind)
    return QuantizedWeight(values, scales, np.full(scales.shape, scheme.weight_zero, kind))


def quantized_bias(bias: NDArray[np.float32], input_scale: float, scales: NDArray[np.float32]) -> NDArray[np.int32]:
    """A bias in steps of input scale x weight scale, int32 (outputs,)."""
    steps = np.rint(bias.astype(np.float64) / (np.float64(input_scale) * scales))
    return np.clip(steps, -(2**31) + 1, 2**31 - 1).astype(np.int32)
