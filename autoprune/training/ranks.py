"""The processes of one training: each takes its part of every batch, and all take the same step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from autoprune.errors import InputError, RunError

__all__ = ["Part", "Ranks", "part_of"]

_LEAST = 2  # images of a part: BatchNorm after a pooling to one pixel cannot train on one


@dataclass(frozen=True)
class Part:
    """What a process sees of a batch.

    Attributes:
        batch: Its images and their labels; None where it has none.
        share: Of the batch's images, in [0, 1].
    """

    batch: Any
    share: float


class Ranks:
    """This process's place among those of a training (data parallelism by an all-reduce of gradients).

    A step's gradient is the mean over the whole batch, as in one process, but for the order of sums: each process
    computes it on its part, weighted by the images in it, and all take their sum. BatchNorm's statistics are of each
    process's part; the running ones are averaged when an epoch has ended.

    Args:
        rank: This process, from 0.
        count: How many there are.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count

    def part(self, batch: Any, images: int) -> Part:
        """This process's images of a batch.

        Args:
            batch: As the loader gives it; of the same content in every process.
            images: How many images it has.

        Raises:
            InputError: If nothing in the batch has so many parts.
        """
        begin, end = part_of(images, self.rank, self.count)
        return Part(_cut(batch, images, begin, end) if end > begin else None, (end - begin) / images)

    def sum(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Replace the gradients by their sums over all processes.

        What no process has a gradient of keeps none, so that no weight decays that took no part.

        Args:
            parameters: In the same order in every process.
            loss: Of this process's part, weighted; a scalar.

        Returns:
            The sum of the losses.
        """
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        kind = torch.float64 if any(each.dtype == torch.float64 for each in wanted) else torch.float32
        there = torch.tensor([each.grad is not None for each in wanted], dtype=kind)
        grads = [(torch.zeros_like(each) if each.grad is None else each.grad).flatten().to(kind) for each in wanted]
        flat = torch.cat([*grads, there, loss.detach().reshape(1).to(kind)])
        _take_sum(flat)
        sizes = [each.numel() for each in wanted]
        *sums, there, total = torch.split(flat, [*sizes, len(wanted), 1])
        for parameter, found, known in zip(wanted, sums, there.tolist(), strict=True):
            parameter.grad = found.view_as(parameter).to(parameter.dtype) if known else None
        summed: Tensor = total.reshape(()).to(loss.dtype)
        return summed

    @torch.no_grad()
    def average_statistics(self, model: nn.Module) -> None:
        """Give every process the mean of the buffers of floating-point numbers."""
        buffers = [each for each in model.buffers() if each.is_floating_point()]
        if not buffers:
            return
        flat = torch.cat([each.flatten().to(torch.float64) for each in buffers])
        _take_sum(flat)
        for buffer, mean in zip(
            buffers, torch.split(flat / self.count, [each.numel() for each in buffers]), strict=True
        ):
            buffer.copy_(mean.view_as(buffer))


def _take_sum(values: Tensor) -> None:
    """Replace values by their sums over all processes.

    Raises:
        RunError: If one of them has ended.
    """
    try:
        dist.all_reduce(values)
    except RuntimeError as error:  # of a closed connection
        raise RunError(
            "another process of the training has ended; --resume goes on from the last checkpoint (torchrun"
            " --max-restarts N does so by itself)"
        ) from error


def part_of(images: int, rank: int, count: int) -> tuple[int, int]:
    """The first image of a process's part, and the one behind its last.

    >>> [part_of(10, rank, 4) for rank in range(4)]
    [(0, 3), (3, 6), (6, 8), (8, 10)]
    >>> [part_of(3, rank, 2) for rank in range(2)]  # never one image alone
    [(0, 3), (3, 3)]
    """
    busy = max(1, min(count, images // _LEAST))
    each, more = divmod(images, busy)
    begin = min(rank, busy) * each + min(rank, more)
    return begin, begin + (each + (rank < more) if rank < busy else 0)


def _cut(batch: Any, images: int, begin: int, end: int) -> Any:
    """The same batch with the images from `begin` to `end`, and what belongs to them.

    Tensors with an image a row are cut, and below the batch itself lists with an item an image, as detection has them.
    """
    cut: list[bool] = []

    def of(value: Any, *, whole: bool = False) -> Any:
        if isinstance(value, Tensor):
            return _rows(value) if _is_of_images(value, images) else value
        if isinstance(value, list) and not whole and len(value) == images and not _are_of_images(value, images):
            cut.append(True)
            return value[begin:end]
        if isinstance(value, Mapping):
            return {key: of(item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(of, value))
        return type(value)(map(of, value)) if isinstance(value, tuple | list) else value

    def _rows(tensor: Tensor) -> Tensor:
        cut.append(True)
        return tensor[begin:end]

    found = of(batch, whole=True)
    if not cut:
        raise InputError(
            f"a batch of {images} images cannot be shared among processes: nothing in it has {images} parts"
        )
    return found


def _is_of_images(tensor: Tensor, images: int) -> bool:
    return bool(tensor.dim()) and len(tensor) == images


def _are_of_images(values: list[Any], images: int) -> bool:
    """Whether these are several tensors of a batch, not an item an image."""
    return all(isinstance(each, Tensor) and _is_of_images(each, images) for each in values)
