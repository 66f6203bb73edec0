"""All tensors of what a model returns, whatever it returns them in."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterator, Mapping, MappingView, Sequence, Set
from contextlib import suppress
from itertools import chain
from typing import Any

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError

__all__ = ["tensors_of"]

_CACHES = "transformers.cache_utils"  # keys and values for the network's own next call: as wide as the network is
_PLAIN = (str, bytes, int, float, complex, range, type, types.ModuleType, nn.Module)


def tensors_of(output: Any) -> list[torch.Tensor]:
    """All tensors of a model's output, in order: those of containers, and those that objects keep as attributes.

    A module that is returned is no output, nor is a cache of ``transformers``.

    Raises:
        UnsupportedModelError: Something in it cannot be looked into without using it up (an iterator), or has no order.
    """
    return _Search().tensors(output)


class _Search:
    """One walk through an output; what is there twice as an attribute, or refers to itself, is found once."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # the objects themselves, so that no other one gets their id

    def tensors(self, value: Any) -> list[torch.Tensor]:
        """The tensors in a value."""
        if isinstance(value, torch.Tensor):
            self._seen[id(value)] = value
            return [value]
        if value is None or isinstance(value, _PLAIN) or id(value) in self._seen or _is_cache(value):
            return []
        self._seen[id(value)] = value
        if isinstance(value, Iterator):
            raise UnsupportedModelError(
                f"the model returns a {type(value).__name__}, whose tensors cannot be compared without using it up;"
                " return a tuple, a list, a mapping or an object with attributes"
            )
        found = [tensor for part in _items(value) for tensor in self.tensors(part)]
        if found and isinstance(value, Set):
            raise UnsupportedModelError(
                "the model returns a set of tensors, which has no order; return a tuple or a list"
            )
        for part in _attributes(value):  # a mapping of `transformers` has its items as attributes, too
            if id(part) not in self._seen:
                found += self.tensors(part)
        return found


def _is_cache(value: Any) -> bool:
    return any(kind.__module__ == _CACHES for kind in type(value).__mro__)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        return iter(value.values())
    is_container = isinstance(value, Sequence | Set | deque | MappingView)
    return iter(list(value) if is_container else ())


def _attributes(value: Any) -> Iterator[Any]:
    """What an object holds by name; of a function, what it closes over."""
    if isinstance(value, functools.partial):
        return chain((value.func,), value.args, value.keywords.values())
    if isinstance(value, types.MethodType):
        return iter((value.__self__,))
    own = list(getattr(value, "__dict__", {}).values())
    if isinstance(value, types.FunctionType):
        return chain(_closed_over(value), value.__defaults__ or (), own)
    slots = chain.from_iterable(_slots(kind) for kind in type(value).__mro__)
    return chain(own, (getattr(value, name) for name in slots if hasattr(value, name)))


def _closed_over(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not filled yet
            yield cell.cell_contents


def _slots(kind: type) -> tuple[str, ...]:
    names = kind.__dict__.get("__slots__", ())
    names = (names,) if isinstance(names, str) else tuple(names)
    return tuple(
        f"_{kind.__name__.lstrip('_')}{n}" if n.startswith("__") and not n.endswith("__") else n for n in names
    )
