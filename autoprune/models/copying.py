"""Copies of modules, also of those that keep computed tensors about or whose hooks close over them."""

from __future__ import annotations

import copy
import dis
import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn

__all__ = ["duplicate", "forget", "isolated", "keepers"]


def duplicate(model: nn.Module, memo: Mapping[int, object] | None = None) -> nn.Module:
    """A deep copy; what carries a gradient's history, which cannot be copied, comes without it.

    Functions (hooks, callables as attributes) that close over the model or a part of it close over the copy's. What
    else they close over is still the caller's, as in any deep copy.

    Args:
        model: Not changed.
        memo: id of a tensor -> what replaces it in the copy.
    """
    return _copied(model, memo or {}, alone=False)


def isolated(model: nn.Module, memo: Mapping[int, object] | None = None) -> nn.Module:
    """A duplicate to experiment on: what its hooks write goes into copies of the caller's lists and dicts, too.

    Args:
        model: Not changed.
        memo: id of a tensor -> what replaces it in the copy.
    """
    return _copied(model, memo or {}, alone=True)


def keepers(model: nn.Module) -> list[nn.Module]:
    """The modules with a ``train`` of their own: it drops what they computed in evaluation mode and keep."""
    return [module for module in model.modules() if type(module).train is not nn.Module.train]


def forget(modules: Iterable[nn.Module]) -> None:
    """Drop what these modules keep of earlier runs (a gathered position bias): it has the widths of then."""
    for module in modules:
        modes = [(part, part.training) for part in module.modules()]
        module.train(True)
        for part, training in modes:
            part.training = training


def _copied(model: nn.Module, memo: Mapping[int, object], *, alone: bool) -> nn.Module:
    known: dict[int, Any] = dict(memo)
    rebound: list[tuple[types.FunctionType, types.FunctionType]] = []
    for value in list(_reachable(model, alone)):
        if id(value) in known:
            continue
        if isinstance(value, torch.Tensor):
            known[id(value)] = value.detach().clone()
        else:
            known[id(value)] = _unbound(value, alone)
            rebound.append((value, known[id(value)]))
    copied = copy.deepcopy(model, known)
    for function, twin in rebound:
        _bind(function, twin, known, alone)
    forget(keepers(copied))
    return copied


def _reachable(model: nn.Module, alone: bool) -> Iterator[Any]:
    """Tensors with a history, and functions to be made anew, that a copy of the model meets."""
    seen: dict[int, Any] = {}  # the objects themselves, so that no other one gets their id
    waiting: list[Any] = [model]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            if not value.is_leaf:
                yield value
        elif isinstance(value, types.FunctionType):
            held = _held(value, alone)
            if held:
                yield value
            waiting += held
        else:
            waiting += _parts(value)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, type | types.ModuleType):
        return []
    own = list(getattr(value, "__dict__", {}).values())
    if isinstance(value, dict):
        return [*value.values(), *own]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [*value, *own]
    return own


def _held(function: types.FunctionType, alone: bool) -> list[Any]:
    """What the twin of a caller's function must have of its own; in a delivered copy only what is the model's."""
    if str(function.__module__).partition(".")[0] == "torch":
        return []
    values = [*_closed_over(function), *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if alone:
        values += _globals(function).values()
        return [value for value in values if _is_callable(value) or isinstance(value, nn.Module) or _is_store(value)]
    return [value for value in values if isinstance(value, nn.Module) or (function.__closure__ and _is_callable(value))]


def _closed_over(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not filled yet
            yield cell.cell_contents


def _globals(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function reads and could write to."""
    read = {name: function.__globals__.get(name) for name in _global_names(function.__code__)}
    return {name: value for name, value in read.items() if isinstance(value, nn.Module) or _is_store(value)}


def _global_names(code: types.CodeType) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    inner = (_global_names(part) for part in code.co_consts if isinstance(part, types.CodeType))
    return names.union(*inner)


def _is_callable(value: Any) -> bool:
    return isinstance(value, types.FunctionType | types.MethodType | functools.partial)


def _is_store(value: Any) -> bool:
    """Whether a hook could keep something there: a container, or an object of a class."""
    if isinstance(value, type | types.ModuleType | torch.Tensor | nn.Module) or _is_callable(value):
        return False
    return isinstance(value, dict | list | set | deque) or hasattr(value, "__dict__")


def _unbound(function: types.FunctionType, alone: bool) -> types.FunctionType:
    """The function with cells of its own, still to be filled."""
    cells = tuple(types.CellType() for _ in function.__closure__ or ()) or None
    scope = dict(function.__globals__) if alone and _globals(function) else function.__globals__
    twin = types.FunctionType(function.__code__, scope, function.__name__, None, cells)
    twin.__dict__.update(function.__dict__)
    for name in ("__qualname__", "__module__", "__doc__", "__annotations__"):
        setattr(twin, name, getattr(function, name))
    return twin


def _bind(function: types.FunctionType, twin: types.FunctionType, known: dict[int, Any], alone: bool) -> None:
    """Give the twin what the function holds: the copy's own where there is one."""

    def own(value: Any) -> Any:
        if id(value) in known or isinstance(value, types.MethodType | functools.partial):
            return copy.deepcopy(value, known)
        if alone and _is_store(value):
            with suppress(Exception):  # a lock, an open file: it stays the caller's
                return copy.deepcopy(value, known)
        return value

    for cell, theirs in zip(twin.__closure__ or (), function.__closure__ or (), strict=True):
        with suppress(ValueError):
            cell.cell_contents = own(theirs.cell_contents)
    twin.__defaults__ = tuple(map(own, function.__defaults__)) if function.__defaults__ else function.__defaults__
    if function.__kwdefaults__:
        twin.__kwdefaults__ = {name: own(value) for name, value in function.__kwdefaults__.items()}
    if alone:
        twin.__globals__.update({name: own(value) for name, value in _globals(function).items()})
