"""The inputs of a layer as rows of a matrix: what each output position is computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Positions", "WindowedLayer", "drawn_positions", "every_position", "input_rows", "output_rows"]

WindowedLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

Positions = Callable[[int], Tensor]
"""Which of so many output positions become rows, int64."""

every_position: Positions = torch.arange
"""All, in their order."""


def drawn_positions(most: int, draw: torch.Generator) -> Positions:
    """So many at most, drawn without replacement."""
    return lambda count: torch.arange(count) if count <= most else torch.randperm(count, generator=draw)[:most]


def input_rows(layer: WindowedLayer, given: Tensor, chosen: Positions = every_position) -> Tensor:
    """The windows that a layer multiplies with its weights.

    `torch.einsum("rgi,goi->rgo", rows, weight.reshape(groups, out / groups, -1))` is the layer's output without bias,
    at the positions of the rows.

    Args:
        layer: A linear layer or a convolution with any stride, padding, dilation and groups.
        given: Its input: (..., in) of a linear layer, (N, in, spatial...) of a convolution, or one without N.
        chosen: Which of the output's positions; all by default.

    Returns:
        (rows, groups, in / groups * kernel), in the order of the weight's elements.
    """
    if isinstance(layer, nn.Linear):
        rows = given.reshape(-1, given.shape[-1])
        return rows[chosen(len(rows)).to(rows.device)].unsqueeze(1)
    dims = layer.weight.ndim - 2
    batch = given if given.ndim == dims + 2 else given.unsqueeze(0)
    padded = _padded(layer, batch).contiguous()
    windows = padded
    for axis in range(dims):
        span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        windows = windows.unfold(2 + axis, span, layer.stride[axis])[..., :: layer.dilation[axis]]
    positions = windows.movedim(1, 1 + dims)  # (N, out spatial..., in, kernel...), a view: nothing is copied yet
    shape, strides = positions.shape[: 1 + dims], positions.stride()
    places = torch.unravel_index(chosen(shape.numel()).to(given.device), shape)
    starts = torch.stack([place * stride for place, stride in zip(places, strides, strict=False)]).sum(0)
    window = _offsets(positions.shape[1 + dims :], strides[1 + dims :], given.device)
    # Elements by their number take half the time of an index of places into the view of many dimensions.
    return padded.view(-1).take(starts[:, None] + window).view(len(starts), layer.groups, -1)


def _offsets(shape: Sequence[int], strides: Sequence[int], device: torch.device) -> Tensor:
    """How far the elements of a strided tensor lie behind its first one, in their order, int64."""
    found = torch.zeros(1, dtype=torch.int64, device=device)
    for size, stride in zip(shape, strides, strict=True):
        found = (found[:, None] + torch.arange(size, device=device) * stride).flatten()
    return found


def output_rows(layer: WindowedLayer, output: Tensor, chosen: Positions = every_position) -> Tensor:
    """What a layer gives at the positions of `input_rows`.

    Args:
        layer: The layer.
        output: What it gave: (..., out) of a linear layer, (N, out, spatial...) or without N of a convolution.
        chosen: As for `input_rows`.

    Returns:
        (rows, out).
    """
    if not isinstance(layer, nn.Linear):
        output = output.movedim(output.ndim - layer.weight.ndim + 1, -1)
    count = output.numel() // output.shape[-1]
    return output.reshape(count, -1)[chosen(count).to(output.device)]


def _padded(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, batch: Tensor) -> Tensor:
    """The input with the layer's own padding, which torch keeps for `functional.pad`, last dimension first."""
    sizes = layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(batch, list(sizes), mode=mode) if any(sizes) else batch
