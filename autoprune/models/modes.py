"""Modules in training or in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["in_mode"]


@contextmanager
def in_mode(*models: nn.Module, train: bool = False) -> Iterator[None]:
    """The models in evaluation (or training) mode; every module gets its own mode back, frozen BatchNorms too.

    Args:
        models: Any modules.
        train: Training mode instead.
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.train(train)
    try:
        yield
    finally:
        for module, before in modes:
            module.training = before
