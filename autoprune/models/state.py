"""What modules keep from one run to the next, put back after a run."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["state_kept"]

_NO_STATE = (nn.Module, nn.Parameter, type, types.ModuleType, types.FunctionType, types.MethodType, str, bytes, int)
_DEPTH = 5  # module, dict of it, list in that, object in that and its attributes: deeper state is nobody's habit


@contextmanager
def state_kept(model: nn.Module) -> Iterator[None]:
    """What a forward writes inside of this context is undone at its end: the next run starts from the same state.

    Buffers and other tensors get their values back, attributes and containers (lists, dicts, sets, plain objects) of
    the modules their content. Views (``detach()``) of what a run returned keep what they hold, also those of buffers.
    Parameters are not looked at.
    """
    undo = _Undo()
    for module in model.modules():
        undo.note(module)
    try:
        yield
    finally:
        undo.all()


class _Undo:
    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._seen: dict[int, Any] = {}  # the objects themselves, so that no other one gets their id

    def all(self) -> None:
        """Put everything back."""
        for step in self._steps:
            step()

    def note(self, module: nn.Module) -> None:
        """Remember a module's own state."""
        self._parts(vars(module), 0)

    def _value(self, value: Any, depth: int) -> None:
        if id(value) in self._seen or depth > _DEPTH or isinstance(value, _NO_STATE):
            return
        if isinstance(value, torch.Tensor):
            self._seen[id(value)] = value
            self._tensor(value)
        elif isinstance(value, dict | list | set | deque):
            self._parts(value, depth)
        elif isinstance(value, tuple):
            for part in value:
                self._value(part, depth + 1)
        elif type(getattr(value, "__dict__", None)) is dict:
            self._parts(vars(value), depth)

    def _tensor(self, tensor: torch.Tensor) -> None:
        kept = tensor.detach().clone()

        def step() -> None:
            same = tensor.shape == kept.shape and tensor.dtype == kept.dtype and torch.equal(tensor, kept)
            if not same:
                tensor.data = kept  # not in place: what the run returned may be this very memory

        self._steps.append(step)

    def _parts(self, container: Any, depth: int) -> None:
        self._seen[id(container)] = container
        content = container.copy()
        for part in content.values() if isinstance(content, dict) else content:
            self._value(part, depth + 1)

        def step() -> None:
            container.clear()
            container.extend(content) if isinstance(container, list | deque) else container.update(content)

        self._steps.append(step)
