"""An example with smaller images, or with shorter texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from autoprune.models.inputs.example import Example

__all__ = ["smaller_inputs"]

_SIDES = (64, 128)  # pixels of the images that are tried
_STRIDE = 32  # of the usual networks: a side keeps its remainder
_WORTH = 2  # times as few pixels or tokens
_TOKENS = 13  # of the texts that are tried: hardly any width of a network is that


def smaller_inputs(example: Example) -> Iterator[Example]:
    """The example with smaller images, the smallest first, or with its texts cut off.

    Images are floating-point tensors of four dimensions or more. Texts are integers, (samples, tokens); other integers
    and truth values (masks, positions) that are as long go with them. All else stays.

    Sizes that differ go on differing, so that height and width cannot be taken for each other.
    """
    images = [t for t in example.tensors() if _is_image(t)]
    if images:
        yield from _smaller_images(example, images)
        return
    lengths = sorted({t.shape[1] for t in example.tensors() if _is_discrete(t) and t.dim() == 2})
    sizes = {length: min(length, _TOKENS + at) for at, length in enumerate(lengths)}
    if any(length >= _WORTH * size for length, size in sizes.items()):
        yield example.map(lambda tensor: _shorter(tensor, sizes))


def _smaller_images(example: Example, images: list[torch.Tensor]) -> Iterator[Example]:
    sides = sorted({side for image in images for side in image.shape[-2:]})
    for least in _SIDES:
        sizes: dict[int, int] = {}
        for side in sides:
            size = least + side % _STRIDE
            while size in sizes.values():
                size += _STRIDE
            sizes[side] = min(side, size)
        if any(_pixels(image) >= _WORTH * sizes[image.shape[-2]] * sizes[image.shape[-1]] for image in images):
            yield example.map(lambda tensor, sizes=sizes: _cropped(tensor, sizes))


def _is_image(tensor: torch.Tensor) -> bool:
    return tensor.dim() > 3 and tensor.is_floating_point()


def _is_discrete(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()


def _pixels(image: torch.Tensor) -> int:
    return int(image.shape[-2] * image.shape[-1])


def _cropped(tensor: torch.Tensor, sizes: Mapping[int, int]) -> torch.Tensor:
    if not _is_image(tensor):
        return tensor
    height, width = (sizes[side] for side in tensor.shape[-2:])
    return tensor[..., :height, :width].contiguous()


def _shorter(tensor: torch.Tensor, sizes: Mapping[int, int]) -> torch.Tensor:
    """Every dimension behind the first that is as long as a text, cut off as that is."""
    if not _is_discrete(tensor):
        return tensor
    for dim in range(1, tensor.dim()):
        tensor = tensor.narrow(dim, 0, sizes.get(tensor.shape[dim], tensor.shape[dim]))
    return tensor.contiguous()
