"""A network on a GPU with sparse kernels where they were measured to be faster, timed as a whole at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import AutopruneError, InputError, TargetError, first_line
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.contract.target import Target
from autoprune.hardware.sparse_kernels.choice import LayerChoice, chosen_layers
from autoprune.hardware.sparse_kernels.conversion import Convert, converted_by_first, gpu_here
from autoprune.hardware.sparse_kernels.products import ConvolutionAsProduct
from autoprune.hardware.sparse_kernels.rules import Gpu
from autoprune.hardware.sparse_kernels.shapes import CONVOLUTIONS, sparse_layers
from autoprune.hardware.timing.loop import time_calls
from autoprune.models.copying import duplicate
from autoprune.models.inputs.example import Example, as_example
from autoprune.models.outputs import output_of

__all__ = ["DTYPES", "Deployed", "deploy", "fastest", "with_sparse_kernels"]

DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}
"""Precision of a target -> dtype of the network on it."""

_TOLERANCE = 5e-2  # of the largest output, of the whole network in 16 bits


@dataclass(frozen=True, eq=False)
class Deployed:
    """A network as it runs on a GPU.

    Attributes:
        model: On the GPU, in the target's precision: the fastest of the candidates.
        runs: Which of them it is: `dense`, `sparse` (every layer that can), or `chosen` (layer by layer).
        layers: What runs each layer, and why; of the candidate `chosen`.
        latency_ms: Candidate -> milliseconds of the whole network, timed in turn.
    """

    model: nn.Module
    runs: str
    layers: Sequence[LayerChoice]
    latency_ms: Mapping[str, float]


def deploy(
    model: nn.Module,
    example: Any,
    target: Target,
    *,
    repetitions: int = 5,
    protocol: Protocol | None = None,
    gpu: Callable[[], Gpu] = gpu_here,
    convert: Convert | None = None,
) -> Deployed:
    """Put a 2:4 network on the GPU, with sparse kernels where they pay.

    Args:
        model: With 2:4 weights; left as it is.
        example: An input with the batch that will be used.
        target: `cuda@f16` or `cuda@bf16`.
        repetitions: Pairs of timings of each layer.
        protocol: Of each timing.
        gpu: What is asked for the GPU.
        convert: Instead of torch's conversion.

    Raises:
        TargetError: If there is no GPU.
        InputError: If the target's precision has no 2:4 kernels.
    """
    target.require()
    if target.precision not in DTYPES:
        raise InputError(
            f"there are no 2:4 kernels for {target.precision}; name {target.name}@f16 or {target.name}@bf16"
        )
    device, known = gpu(), protocol or Protocol.entries()
    layers = chosen_layers(sparse_layers(model, example), target, lambda: device, known, repetitions)
    dtype, given = DTYPES[target.precision], as_example(example).copied()
    place: str = getattr(target, "device", "cuda")
    dense = duplicate(model).eval().to(place, dtype)
    inputs = given.map(lambda tensor: tensor.to(place, dtype if tensor.is_floating_point() else None))
    every = [replace(each, chosen="sparse") if each.backends else each for each in layers]
    networks = {"dense": dense}
    networks["sparse"], _ = with_sparse_kernels(dense, every, convert)
    networks["chosen"], layers = with_sparse_kernels(dense, layers, convert)
    agreeing = {name: network for name, network in networks.items() if agrees(network, dense, inputs)}
    latencies = _timed(agreeing, inputs, target, known)
    runs = fastest(latencies)
    return Deployed(networks[runs], runs, layers, latencies)


def fastest(latencies: Mapping[str, float]) -> str:
    """The candidate of least latency; of equal ones the first, which has fewer sparse layers.

    >>> fastest({"dense": 2.0, "sparse": 1.5, "chosen": 1.2})
    'chosen'
    """
    return min(latencies, key=lambda name: latencies[name])


def with_sparse_kernels(
    network: nn.Module, layers: Sequence[LayerChoice], convert: Convert | None = None
) -> tuple[nn.Module, list[LayerChoice]]:
    """A copy whose chosen layers have weights for sparse tensor cores.

    Args:
        network: In 16 bits, where it will run; left as it is.
        layers: What runs each of its layers.
        convert: Instead of torch's conversion.

    Returns:
        The copy, and what runs its layers: those that could not be converted are dense, with the reason.

    Raises:
        InputError: If a chosen weight is not 2:4.
    """
    made, found = duplicate(network), []
    for layer in layers:
        if layer.chosen == "dense":
            found.append(layer)
            continue
        module = made.get_submodule(layer.name)
        product: Any = ConvolutionAsProduct(module) if isinstance(module, CONVOLUTIONS) else module
        try:
            weight, _ = converted_by_first(product.weight.detach(), layer.backends, convert)
        except InputError as error:
            raise InputError(f"{layer.name}: {first_line(error)}") from error
        except AutopruneError as error:
            found.append(replace(layer, chosen="dense", reason=first_line(error)))
            continue
        product.weight = nn.Parameter(weight, requires_grad=False)
        if product is not module:
            parent, _, name = layer.name.rpartition(".")
            setattr(made.get_submodule(parent), name, product)
        found.append(layer)
    return made, found


def agrees(network: nn.Module, dense: nn.Module, inputs: Example) -> bool:
    """Whether two networks compute the same, within what 16 bits leave."""
    with torch.inference_mode():
        try:
            expected, found = (output_of(inputs.copied().run(each)).float() for each in (dense, network))
        except (RuntimeError, NotImplementedError):  # a kernel that takes the layer alone, and not in this network
            return False
    scale = float(expected.abs().max()) or 1.0
    return float((found - expected).abs().max()) / scale <= _TOLERANCE


def _timed(networks: Mapping[str, nn.Module], inputs: Example, target: Target, protocol: Protocol) -> dict[str, float]:
    """Milliseconds of each network on this process's GPU, in turn."""
    clock = getattr(target, "clock", None)
    if clock is None:
        raise TargetError(f"target {target.name!r} has no clock of this machine")

    def call(network: nn.Module) -> Callable[[], Tensor]:
        return lambda: output_of(inputs.run(network))

    with torch.inference_mode():
        found = time_calls([call(network) for network in networks.values()], clock(), protocol)
    return {name: measured.ms for name, measured in zip(networks, found, strict=True)}
