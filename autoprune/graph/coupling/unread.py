"""Attributes that no forward reads and that count a width all the same: another method may read them after the cut."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping

from torch import nn

from autoprune.graph.analysis import Extent

__all__ = ["unread_attributes"]


def unread_attributes(
    model: nn.Module, followed: Mapping[tuple[str, str], Extent]
) -> Iterator[tuple[tuple[str, str], Extent]]:
    """Whole numbers of the user's own modules that are named as torch's layers inside of them name what they count.

    RepVGG's ``self.in_channels`` is read when its branches are fused, never in its forward; it counts what the
    ``in_channels`` of its convolutions count. Where those of one value count different widths, nothing is assumed.

    Args:
        model: The model.
        followed: (module, attribute) -> the width that it counts, as far as the trace tells.
    """
    read = _read_by_forwards(model)
    for path, module in model.named_modules():
        if _is_torchs(module):
            continue
        for name, value in vars(module).items():
            if type(value) is not int or name in read or (path, name) in followed:
                continue
            counted = {followed.get((inner, name)) for inner in _layers(module, path, name, value)}
            if len(counted) == 1 and (extent := counted.pop()) is not None:
                yield (path, name), extent


def _layers(module: nn.Module, path: str, name: str, value: int) -> Iterator[str]:
    """Torch's layers inside of a module whose attribute of this name has this value."""
    for inner, layer in module.named_modules(prefix=path):
        if _is_torchs(layer) and vars(layer).get(name) == value:
            yield inner


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "torch"


def _read_by_forwards(model: nn.Module) -> set[str]:
    """Names in the code of the forwards of the user's modules, and of the methods that they call."""
    names: set[str] = set()
    for kind in {type(module) for module in model.modules() if not _is_torchs(module)}:
        waiting, own = ["forward"], set[str]()
        while waiting:
            name = waiting.pop()
            if name in own:
                continue
            own.add(name)
            method = getattr(kind, name, None)
            method = method.fget if isinstance(method, property) else method
            code = getattr(method, "__code__", None)
            waiting += _names(code) if isinstance(code, types.CodeType) else []
        names |= own
    return names


def _names(code: types.CodeType) -> list[str]:
    inner = [name for part in code.co_consts if isinstance(part, types.CodeType) for name in _names(part)]
    return [*code.co_names, *inner]
