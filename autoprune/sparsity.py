"""Sparsity, piece by piece: what can have a pattern, files, and the kernels of sparse tensor cores.

>>> import autoprune, torch
>>> autoprune.sparsity.check(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(1, 4)), "2:4")
{'0': True, '1': 'it has one input, and 2:4 keeps 2 of each group'}
"""

from __future__ import annotations

from typing import Any

from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.target import get_target
from autoprune.hardware.sparse_kernels.deployment import Deployed
from autoprune.hardware.sparse_kernels.deployment import deploy as deploy_on
from autoprune.hardware.sparse_kernels.rules import BACKENDS, Backend, why_not
from autoprune.hardware.sparse_kernels.shapes import CONVOLUTIONS
from autoprune.masks.compressed import Compressed, compress, decompress, is_two_of_four
from autoprune.masks.parsing import pattern_of
from autoprune.masks.planes import PLAIN, Planes
from autoprune.masks.reading import masks_of_prune, plain_weights, zero_masks

__all__ = [
    "Compressed",
    "Deployed",
    "check",
    "compress",
    "decompress",
    "deploy",
    "masks_of_prune",
    "plain_weights",
    "zero_masks",
]


def check(
    model: nn.Module, pattern: str = "2:4", *, backend: str | None = None, precision: str = "f16"
) -> dict[str, bool | str]:
    """Which layers can have a pattern, and on request sparse kernels.

    Args:
        model: Its linear layers and convolutions are looked at, by their shapes alone.
        pattern: As for `--pattern`.
        backend: `cusparselt` or `cutlass`: also whether its kernels take a layer of this shape.
        precision: With a backend: `f16`, `bf16`, `int8`.

    Returns:
        Name of the layer -> True, or the reason why not.

    Raises:
        InputError: If pattern or backend is unknown, or the backend has no kernels for what has the pattern.
    """
    wanted = pattern_of(pattern)
    kernels = None if backend is None else _backend(backend)
    if kernels is not None and not is_two_of_four(wanted):
        raise InputError(f"sparse tensor cores take 2:4, and what has the pattern {wanted.name} need not be 2:4")
    found: dict[str, bool | str] = {}
    for name, module in model.named_modules():
        shape = _shape_of(module)
        if shape is None:
            continue
        planes, layer = shape
        about: Any = module
        reason = wanted.why_not(planes.shape(tuple(about.weight.shape)))
        if reason is None and kernels is not None:
            reason = layer if isinstance(layer, str) else why_not(layer, precision, kernels)
        found[name] = True if reason is None else reason
    return found


def _backend(name: str) -> Backend:
    if name not in BACKENDS:
        raise InputError(f"unknown back end {name!r}; {nearest_name(name, BACKENDS)}")
    return BACKENDS[name]


def _shape_of(module: nn.Module) -> tuple[Planes, Layer | str] | None:
    """How a layer's weight lies in memory, and what kernels would be asked for; None where it is no such layer."""
    about: Any = module
    if isinstance(module, nn.Linear):
        return PLAIN, Layer("linear", module.in_features, module.out_features)
    if isinstance(module, CONVOLUTIONS):
        kernel = tuple(about.kernel_size)
        return PLAIN, Layer("conv", about.in_channels, about.out_channels, kernel=kernel, groups=about.groups)
    other = Planes(inputs=0, outputs=1)
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return other, "a transposed convolution is no product with a 2:4 matrix along its inputs"
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return other, "transformers' Conv1D stores its weight the other way round, which kernels do not take"
    return None


def deploy(model: nn.Module, example_input: Any, target: str = "cuda@f16", *, repetitions: int = 5) -> Deployed:
    """Put a 2:4 network on the GPU, each layer with sparse kernels only where they were faster at this batch.

    Every weight is checked before it is converted, and what it multiplies to is compared after. The whole network is
    timed dense, with all sparse layers, and with the chosen ones; the fastest is handed over.

    Args:
        model: With 2:4 weights, as `autoprune.sparsify` and `autoprune.load` give it; left as it is.
        example_input: An input with the batch that will be used.
        target: `cuda@f16` or `cuda@bf16`.
        repetitions: Pairs of timings of each layer.

    Raises:
        TargetError: If there is no GPU that has sparse tensor cores.
        InputError: If the target has no 2:4 kernels.
    """
    return deploy_on(model, example_input, get_target(target), repetitions=repetitions)
