"""Copies of modules, also of those that keep computed tensors about (old-style weight norm, cached masks)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import nn

__all__ = ["duplicate", "forget", "keepers"]


def duplicate(model: nn.Module, memo: Mapping[int, object] | None = None) -> nn.Module:
    """A deep copy; plain attributes that carry a gradient's history, which cannot be copied, come without it.

    Args:
        model: Not changed.
        memo: id of a tensor -> what replaces it in the copy.
    """
    known: dict[int, object] = dict(memo or {})
    for module in model.modules():
        for value in vars(module).values():
            for kept in value.values() if isinstance(value, dict) else [value]:
                if isinstance(kept, torch.Tensor) and not kept.is_leaf:
                    known.setdefault(id(kept), kept.detach().clone())
    copied = copy.deepcopy(model, known)
    forget(keepers(copied))
    return copied


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
