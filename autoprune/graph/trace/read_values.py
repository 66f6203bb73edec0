"""Values that a forward reads out of its own constants: to torch.export they look like values of the data.

``float(self.stride)``, ``if self.is_ready:`` or the comparison of a mask that the forward itself makes depend neither
on the input nor on a parameter. Exporting knows no values, so it takes all of them for data. Here the model is run
once, tensors that hang on the input or on parameters are followed, and what is read out of all others is noted;
while the model is exported, the same reads are answered with what was noted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

__all__ = ["Answers", "Reads"]

_READS = (
    *("__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__", "item", "tolist", "numpy"),
    *("equal", "allclose", "is_nonzero"),
)
_LIKE = ("full_like", "new_full")  # the first tensor that they are given lends its shape or type
_OF_NUMBERS = ("full", *_LIKE, "arange", "linspace", "logspace")  # tensors that they are given are read
_OF_SHAPES = (  # what they give does not depend on values
    *("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones", "new_empty"),
    *("size", "__len__", "dim", "numel", *_LIKE),
)
_TRANSFORMER = "torch.nn.modules.transformer"


@dataclass(frozen=True)
class _Read:
    """One read: of what, and what was read; ``known`` where it hangs neither on the input nor on parameters."""

    what: tuple[str, tuple[int, ...]]
    value: Any
    known: bool


class Reads(TorchFunctionMode):
    """While it is on, notes what a forward reads out of tensors.

    Args:
        data: The input's tensors and the parameters.
    """

    def __init__(self, data: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.noted: list[_Read] = []
        self._data: dict[int, StorageWeakRef] = {}  # addresses of storages, which the references keep from other use
        self._lost = False  # a value of the data is among the forward's numbers: whatever is read now may hang on it
        for tensor in data:
            self._follow(tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func`` and note what it reads."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        given = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        hangs = any(map(self._hangs, given))
        result = func(*args, **kwargs)
        if name in _READS and given:
            self._note(name, given[0], result, hangs)
        elif name in _OF_NUMBERS:
            for tensor in given[name in _LIKE :]:
                self._note("item", tensor, tensor.item(), self._hangs(tensor))
        if hangs and name not in _OF_SHAPES:
            written = args[:1] if _writes(name) else ()
            for leaf in _leaves((result, written, kwargs.get("out"))):
                if isinstance(leaf, torch.Tensor):
                    self._follow(leaf)
        return result

    def _note(self, name: str, tensor: torch.Tensor, value: Any, hangs: bool) -> None:
        known = not self._lost and not hangs
        if hangs and not self._lost and _asked_by_torch():
            known, value = True, False
        self._lost |= not known
        self.noted.append(_Read((name, tuple(tensor.shape)), value, known))

    def _hangs(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._data

    def _follow(self, tensor: torch.Tensor) -> None:
        reference = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        self._data[reference.cdata] = reference


class Answers(TorchFunctionMode):
    """While it is on, the reads of a forward are answered with what was noted in a run.

    Reads that hang on data, or come in another order than in that run, are left to the exporter.
    """

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self._noted = reads.noted
        self._next = 0

    def __enter__(self) -> Any:
        """A forward begins."""
        self._next = 0
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer, or call ``func``."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _READS:
            given = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            answer = self._answer(name, given[0]) if given else None
            return func(*args, **kwargs) if answer is None else answer.value
        if name in _OF_NUMBERS:
            args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, self._number(name, args), (args, kwargs))
        return func(*args, **kwargs)

    def _number(self, name: str, args: tuple[Any, ...]) -> Any:
        def number(tensor: torch.Tensor) -> Any:
            is_model = name in _LIKE and bool(args) and tensor is args[0]
            answer = None if is_model else self._answer("item", tensor)
            return tensor if answer is None else answer.value

        return number

    def _answer(self, name: str, tensor: torch.Tensor) -> _Read | None:
        if self._next >= len(self._noted):
            return None
        read = self._noted[self._next]
        self._next += 1
        return read if read.known and read.what == (name, tuple(tensor.shape)) else None


def _writes(name: str) -> bool:
    """Whether a function writes to its first argument: ``add_``, ``+=``, ``x[...] =``, ``x.data =``."""
    return name.startswith(("__i", "__set")) or (name.endswith("_") and not name.endswith("__"))


def _leaves(arguments: Any) -> list[Any]:
    return torch.utils._pytree.tree_leaves(arguments)


def _asked_by_torch() -> bool:
    """Whether torch's own transformer asks if a mask that it is given is a causal one: "no" is right for any mask."""
    frame = sys._getframe(3)  # behind _note and the mode's own method
    return frame.f_code.co_name == "_detect_is_causal_mask" and frame.f_globals.get("__name__") == _TRANSFORMER
