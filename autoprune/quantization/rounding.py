"""Rounding inside a network's own modules: what integers do to its scores, fast enough for every candidate.

A layer rounds its weight, by the largest magnitude of each output, and what it reads, to the range that calibration
data gave. BatchNorm scales outputs as a whole, so rounding before it is folded gives the integers of the folded
weight. What a file rounds beside, the outputs that are added, is not rounded here. Gradients pass the rounding as if it
were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.models.copying import duplicate
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.modes import in_mode
from autoprune.models.outputs import moved
from autoprune.models.precision import device_of
from autoprune.quantization.affine import activation_numbers
from autoprune.quantization.scheme import Scheme

__all__ = ["Range", "input_ranges", "integer_layers", "rounded_layers", "without_rounding"]

Range = tuple[float, float]

_TYPES = Scheme()
_LEAST = 1e-30  # of a scale


class _Rounds:
    """Rounds the weight and the input of one layer while it is called.

    Args:
        known: Range of its inputs; None where it is not known: then only its weight is rounded.
    """

    def __init__(self, known: Range | None) -> None:
        self.range = known

    def __call__(
        self, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        weight = layer._parameters["weight"]
        if weight is not None:
            layer.__dict__["weight"] = _rounded_weight(weight)  # found before the parameter of the same name
        if given:
            return (_rounded_input(given[0], self.range), *given[1:]), named
        first = next(iter(named))
        return given, named | {first: _rounded_input(named[first], self.range)}


class _Restores:
    """Gives a layer its own weight back."""

    def __call__(self, layer: nn.Module, given: Any, output: Any) -> None:
        layer.__dict__.pop("weight", None)


def rounded_layers(model: nn.Module, ranges: Mapping[str, Range | None]) -> nn.Module:
    """A copy in which some layers round as integers do.

    Args:
        model: Left as it is.
        ranges: Name of a convolution or linear layer -> the range of its inputs, or None.
    """
    copy = duplicate(model)
    for name, known in ranges.items():
        layer = copy.get_submodule(name)
        layer.register_forward_pre_hook(_Rounds(known), with_kwargs=True)
        layer.register_forward_hook(_Restores(), always_call=True)
    return copy


def integer_layers(model: nn.Module) -> dict[str, Range | None]:
    """The layers that round, and the ranges of their inputs; empty for a network in float32."""
    found: dict[str, Range | None] = {}
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, _Rounds):
                found[name] = hook.range
    return found


def without_rounding(model: nn.Module) -> nn.Module:
    """A copy with the same weights in float32; the network itself where nothing is rounded."""
    if not integer_layers(model):
        return model
    copy = duplicate(model)
    for module in copy.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for number in [n for n, hook in hooks.items() if isinstance(hook, _Rounds | _Restores)]:
                del hooks[number]
                module._forward_hooks_always_called.pop(number, None)
                module._forward_pre_hooks_with_kwargs.pop(number, None)
    return copy


def input_ranges(
    model: nn.Module, names: Iterable[str], batches: Iterable[Any], reader: BatchReader = AS_IT_COMES
) -> dict[str, Range]:
    """Least and largest value that each of some layers reads.

    Args:
        model: Left as it is; called in evaluation mode.
        names: Of its layers.
        batches: Gone through once.
        reader: Which parts of a batch are the inputs.

    Raises:
        InputError: If there is no batch, or a layer reads what is not finite.
    """
    found: dict[str, Range] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def look(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            read: Tensor = next(iter((*given, *named.values())))
            low, high = (float(value) for value in torch.aminmax(read.detach()))
            if not (isfinite(low) and isfinite(high)):
                raise InputError(f"activations that {name} reads are not finite on calibration data; no range fits")
            known = found.get(name, (0.0, 0.0))
            found[name] = min(low, known[0]), max(high, known[1])

        return look

    device, wanted = device_of(model), list(names)
    with in_mode(model), torch.no_grad(), ExitStack() as hooks:
        for name in wanted:
            hooks.callback(model.get_submodule(name).register_forward_pre_hook(watch(name), with_kwargs=True).remove)
        for batch in batches:
            batch = moved(batch, device)
            reader.call(model, batch).run(model)
    missing = next((name for name in wanted if name not in found), None)
    if missing is not None:
        raise InputError(f"no calibration image reaches {missing}; the ranges of integers need some")
    return found


def _rounded_input(x: Tensor, known: Range | None) -> Tensor:
    if known is None:
        return x
    numbers = activation_numbers(*known, _TYPES)
    rounded = torch.fake_quantize_per_tensor_affine(x.float(), numbers.scale, numbers.zero, *_TYPES.levels)
    return rounded.to(x.dtype)


def _rounded_weight(weight: Tensor) -> Tensor:
    scales = (weight.detach().float().abs().flatten(1).amax(1) / _TYPES.weight_steps).clamp_min(_LEAST)
    zeros, steps = torch.zeros_like(scales, dtype=torch.int32), _TYPES.weight_steps
    rounded = torch.fake_quantize_per_channel_affine(weight.float(), scales, zeros, 0, -steps, steps)
    return rounded.to(weight.dtype)
