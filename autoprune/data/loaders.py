"""A user's own loaders as a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Any

import psutil
import torch
from torch import Tensor

from autoprune.data.base import DataSet
from autoprune.data.batches import TensorBatches
from autoprune.errors import InputError
from autoprune.foundations.examples import input_tensors, labels_in, require_example
from autoprune.foundations.references import call, importable_here, is_reference, resolve
from autoprune.foundations.seeding import reseed, seeded
from autoprune.foundations.user_code import UserBatches, wrong_form

__all__ = ["behind_boundary", "from_loaders", "from_reference"]

CALIBRATION_IMAGES = 512

_PARTS = ("train", "search", "test")


def from_loaders(
    train: Iterable[Any],
    search: Iterable[Any],
    test: Iterable[Any],
    example_input: Any = None,
    *,
    classes: int | None = None,
    name: str = "loaders",
    calibration_images: int = CALIBRATION_IMAGES,
    seed: int = 0,
) -> DataSet:
    """A data set out of loaders, such as `torch.utils.data.DataLoader`s.

    The calibration batches are the first ones of train, kept in memory: they are not disjoint from train. The search
    split is read once, to check its images and to count the classes; test is not read at all.

    Args:
        train: Batches to learn from: (images, labels), mappings, or what an own loss understands, the model's input
            first.
        search: Batches on which candidates are scored.
        test: Batches for the end.
        example_input: One input, (1, ...), or a tuple or mapping of several; None takes the first sample of train.
        classes: Number of classes; None counts them, and gives 0 where the second items are no class numbers.
        name: What the data set is called.
        calibration_images: Calibration stops at the first batch that reaches as many.
        seed: For loaders that shuffle.

    Raises:
        InputError: If a loader can be read only once or is empty, images are not finite, or there is one class only.
    """
    for part, loader in (("train", train), ("search", search), ("test", test)):
        _refuse_one_way(part, loader)
    train, search, test = (
        _read_behind_boundary(loader, part, name) for part, loader in zip(_PARTS, (train, search, test), strict=True)
    )
    for loader in (train, search):
        reseed(loader, seed)
    with seeded(seed):
        calibration = _first_batches(train, calibration_images)
        _, learned = _surveyed("train", calibration)
        scored_images, scored = _surveyed("search", search)
    first = _checked_inputs("train", calibration[0])
    if example_input is not None:
        require_example(example_input)
    _refuse_what_cannot_be_held(scored_images, first)
    counts = {"calibration": sum(_size("train", batch) for batch in calibration), "search": scored_images}
    counts |= {part: n for part, loader in (("train", train), ("test", test)) if (n := _images_in(loader))}
    labels = None if learned is None or scored is None else learned | scored
    number = _number_of_classes(labels, classes)
    splits = (train, calibration, search, test)
    if example_input is not None:
        leaves = torch.utils._pytree.tree_leaves(_detached(example_input))
        shape = tuple(next(leaf for leaf in leaves if isinstance(leaf, Tensor)).shape[1:])
        return DataSet(name, *splits, number, shape, _detached(example_input), counts)
    sample = None if _is_plain(calibration[0]) else _one_of(calibration[0], len(first[0]))
    return DataSet(name, *splits, number, tuple(first[0].shape[1:]), first[0][:1].clone(), counts, sample=sample)


def from_reference(spec: str, *, seed: int) -> DataSet:
    """A data set out of a function that returns (train, search, test) loaders.

    Args:
        spec: "package.module:function", called without arguments; a `DataSet` that it returns is taken as it is.
        seed: As in `from_loaders`.

    Raises:
        InputError: If there is no such function, it fails, or it returns something else.
    """
    loaders = call(resolve(spec, "--data"), spec)
    if isinstance(loaders, DataSet):
        return behind_boundary(loaders, spec)
    if not isinstance(loaders, Sequence) or isinstance(loaders, str) or len(loaders) != 3:
        raise wrong_form(f"--data {spec}", loaders, "(train, search, test) loaders")
    train, search, test = loaders
    with importable_here():
        return from_loaders(train, search, test, name=spec, seed=seed)


def behind_boundary(data: DataSet, name: str) -> DataSet:
    """A data set of a user's own making, whose splits are read behind the boundary around their code."""
    splits = {part: _read_behind_boundary(getattr(data, part), part, name) for part in (*_PARTS, "calibration")}
    return replace(data, **splits)


def _read_behind_boundary(loader: Any, part: str, name: str) -> Any:
    """The loader, or what reads it behind the boundary where reading it runs code of the user's."""
    if type(loader) in (list, tuple, TensorBatches, UserBatches):  # a subclass may read files
        return loader
    return UserBatches(loader, f"the {part} split of {name}" if is_reference(name) else f"the {part} loader")


def _is_plain(batch: Any) -> bool:
    """Whether a batch is a tensor, or (inputs, labels): the input is its first tensor, whatever the network takes."""
    if not isinstance(batch, tuple | list):
        return isinstance(batch, Tensor)
    return len(batch) < 3 and isinstance(batch[0] if batch else None, Tensor)


def _one_of(batch: Any, size: int) -> Any:
    """A batch of its first sample alone, in the same form; without whatever is no tensor."""
    if isinstance(batch, Tensor):
        return batch[:1].detach().clone() if batch.ndim and len(batch) == size else batch
    if isinstance(batch, Mapping):
        return {key: _one_of(item, size) for key, item in batch.items() if isinstance(item, Tensor)}
    if isinstance(batch, tuple | list):
        return tuple(_one_of(item, size) for item in batch)
    return batch


def _detached(example: Any) -> Any:
    if isinstance(example, Tensor):
        return example.detach()
    if isinstance(example, Mapping):
        return {key: _detached(item) for key, item in example.items()}
    return tuple(_detached(item) for item in example) if isinstance(example, tuple | list) else example


def _refuse_what_cannot_be_held(images: int, first: Sequence[Tensor]) -> None:
    """The search split is kept in memory, for it is read again for every episode."""
    needed = images * sum(tensor[0].numel() * tensor.element_size() for tensor in first if len(tensor))
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"the search loader's {images:,} images need {needed / 2**30:.1f} GiB of memory but {free / 2**30:.1f} are"
            " free; give fewer: 5,000 tell candidates apart"
        )


def _refuse_one_way(part: str, loader: Any) -> None:
    if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
        raise InputError(f"the {part} loader is {type(loader).__name__}, which cannot be iterated")
    if isinstance(loader, Iterator):  # asking iter(loader) would start a DataLoader's workers
        raise InputError(f"the {part} loader can be read only once; give a loader or a list, not a generator")


def _first_batches(train: Iterable[Any], images: int) -> list[Any]:
    taken: list[Any] = []
    count = 0
    for batch in train:
        taken.append(batch)
        count += _size("train", batch)
        if count >= images:
            break
    if not taken:
        raise InputError("the train loader gives no batches; has it fewer images than a batch?")
    return taken


def _surveyed(part: str, batches: Iterable[Any]) -> tuple[int, set[int] | None]:
    """Images of these batches, checked, and the class numbers that occur; None if a batch has none."""
    images, labels = 0, set[int]()
    classified = True
    for batch in batches:
        size = _size(part, batch)
        images += size
        numbers = _class_numbers(batch, size)
        classified = classified and numbers is not None
        if numbers is not None:
            labels.update(numbers.tolist())
    if not images:
        raise InputError(f"the {part} loader gives no batches")
    return images, labels if classified else None


def _number_of_classes(labels: set[int] | None, declared: int | None) -> int:
    """The declared number, or one more than the largest label; 0 without class numbers."""
    if labels is None:
        return declared or 0
    if declared is None and len(labels) < 2:
        raise InputError("all labels are of one class; there is nothing to tell apart")
    if declared is not None and max(labels) >= declared:
        raise InputError(f"a label is {max(labels)}, but there are only {declared} classes, 0 to {declared - 1}")
    return max(labels) + 1 if declared is None else declared


def _size(part: str, batch: Any) -> int:
    """Samples of a batch, whose inputs are checked."""
    return len(_checked_inputs(part, batch)[0])


def _checked_inputs(part: str, batch: Any) -> list[Tensor]:
    """The tensors of a batch that may be the model's inputs, (N, ...) each."""
    inputs = input_tensors(batch)
    least = 2 if _is_plain(batch) else 1  # of several inputs one may be a number a sample
    if not inputs or inputs[0].ndim < least or not len(inputs[0]):
        raise InputError(
            f"a {part} batch does not begin with a tensor of inputs (images, ...); give (images, labels) batches, or"
            " mappings of tensors"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in inputs if tensor.is_floating_point()):
        raise InputError(f"a {part} batch has images with values that are not finite (NaN or infinity)")
    return inputs


def _class_numbers(batch: Any, images: int) -> Tensor | None:
    labels = labels_in(batch)
    if labels is None or labels.is_floating_point() or labels.shape != (images,):
        return None
    return labels


def _images_in(loader: Any) -> int:
    held = getattr(loader, "dataset", None)
    return len(held) if isinstance(held, Sized) else 0
