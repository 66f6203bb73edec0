"""The layers of a network as it is called, and whether their weights are 2:4."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.hardware.contract.layer import Layer
from autoprune.masks.compressed import TWO_OF_FOUR
from autoprune.masks.planes import PLAIN
from autoprune.models.inputs.example import as_example
from autoprune.models.modes import in_mode

__all__ = ["CONVOLUTIONS", "called_layers", "has_the_pattern", "sparse_layers"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def called_layers(model: nn.Module, example: Any) -> dict[str, Layer | str]:
    """Every linear layer and convolution with the sizes with which the network calls it; or why it has none.

    Args:
        model: Left as it is; called once, in evaluation mode.
        example: An input with the batch that is wanted, as `as_example` takes it.

    Returns:
        Name of the module -> its layer, of the first call; a text where it cannot be replaced.
    """
    named = {name: m for name, m in model.named_modules() if isinstance(m, (nn.Linear, *CONVOLUTIONS)) or _other(m)}
    found: dict[str, Layer | str] = {}

    def noted(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if name not in found and inputs and isinstance(inputs[0], Tensor):
                found[name] = _layer(module, inputs[0], output)

        return note

    hooks = [module.register_forward_hook(noted(name)) for name, module in named.items()]
    try:
        with in_mode(model), torch.no_grad():
            as_example(example).copied().run(model)
    finally:
        for hook in hooks:
            hook.remove()
    unseen = "another module reads its weight; it is not called itself"
    return {name: _other(module) or found.get(name, unseen) for name, module in named.items()}


def sparse_layers(model: nn.Module, example: Any) -> dict[str, Layer | str]:
    """As `called_layers`; of a layer whose weight is not 2:4, or has no zero, the reason that it stays dense.

    Empty for a network without a 2:4 weight, which is not called.
    """
    kinds = (nn.Linear, *CONVOLUTIONS)
    if not any(has_the_pattern(module.weight.detach()) for module in model.modules() if isinstance(module, kinds)):
        return {}
    found: dict[str, Layer | str] = {}
    for name, layer in called_layers(model, example).items():
        weight: Tensor = model.get_submodule(name).get_parameter("weight").detach()
        found[name] = layer if isinstance(layer, str) or has_the_pattern(weight) else _no_pattern(weight)
    return found


def has_the_pattern(weight: Tensor) -> bool:
    """Whether a weight (outputs, inputs, kernel ...) is 2:4 and has zeros to skip."""
    return bool((weight == 0).any()) and TWO_OF_FOUR.fault(PLAIN.of(weight)) is None


def _no_pattern(weight: Tensor) -> str:
    fault = TWO_OF_FOUR.fault(PLAIN.of(weight))
    return (
        "its weight has no zeros" if fault is None or bool((weight != 0).all()) else f"its weight is not 2:4: {fault}"
    )


def _other(module: nn.Module) -> str | None:
    """Why a layer with a weight is none that can be replaced; None for those that can, and for what has no weight."""
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return "a transposed convolution is no product with a 2:4 matrix along its inputs"
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return "transformers' Conv1D stores its weight the other way round, which kernels do not take"
    if isinstance(module, CONVOLUTIONS) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
        return "its padding is not a number of zeros on both sides"
    return None


def _layer(module: nn.Module, given: Tensor, output: Tensor) -> Layer:
    about: Any = module
    bias = about.bias is not None
    if isinstance(module, nn.Linear):
        rows = math.prod(given.shape[:-1])
        return Layer("linear", module.in_features, module.out_features, batch=rows, bias=bias)
    spatial = len(about.kernel_size)
    return Layer(
        "conv",
        about.in_channels,
        about.out_channels,
        batch=given.shape[0] if given.dim() == spatial + 2 else 1,
        size=tuple(given.shape[-spatial:]),
        out_size=tuple(output.shape[-spatial:]),
        kernel=tuple(about.kernel_size),
        stride=tuple(about.stride),
        padding=tuple(about.padding) if not isinstance(about.padding, str) else (0,) * spatial,
        dilation=tuple(about.dilation),
        groups=about.groups,
        bias=bias,
    )
