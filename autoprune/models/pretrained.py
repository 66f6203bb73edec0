"""Models of `transformers`: does their own class, made from their config, have the shapes that they have?

Nothing here imports `transformers`; a model of it can only be there if somebody has.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

__all__ = [
    "differences",
    "first_stock_difference",
    "is_pretrained",
    "numbers_of",
    "outermost_pretrained",
    "shapes_of",
    "stock_model",
]

Shapes = Mapping[str, tuple[int, ...]]


def is_pretrained(model: nn.Module) -> bool:
    """Whether a module is a `transformers.PreTrainedModel`."""
    library: Any = sys.modules.get("transformers.modeling_utils")
    return library is not None and isinstance(model, library.PreTrainedModel)


def outermost_pretrained(model: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every `transformers` model in a module that lies in no other one, by its qualified name."""
    if is_pretrained(model):
        yield path, model
        return
    for name, child in model.named_children():
        yield from outermost_pretrained(child, f"{path}.{name}".lstrip("."))


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of everything that is saved."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def numbers_of(model: nn.Module) -> dict[str, float]:
    """The numbers among the modules' attributes, by qualified name: heads, widths, scales."""
    return {
        f"{path}.{name}": value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if type(value) in (int, float)
    }


def stock_model(model: nn.Module, config: Any) -> nn.Module | None:
    """What a model's class makes of a config, without memory for weights; None where the class refuses it.

    Args:
        model: Of `transformers`.
        config: A config of its kind.
    """
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its opinions on the config are not about the user's model
            return type(model)(config)
    except Exception:  # noqa: BLE001 - a class may check its config by whatever raises
        return None


def differences(own: Shapes, stock: Shapes) -> list[str]:
    """What differs between a model and its stock class, a sentence each, in the model's order."""
    found = []
    for name, shape in own.items():
        if name not in stock:
            found.append(f"{name} is not there in the stock class")
        elif stock[name] != shape:
            found.append(f"{name} is {list(shape)}, by the config {list(stock[name])}")
    return found + [f"{name} is missing, which the stock class has" for name in stock if name not in own]


def first_stock_difference(model: nn.Module) -> str | None:
    """The first thing in which a `transformers` model differs from its class made from its config; None if nothing."""
    config: Any = model.config
    stock = stock_model(model, config)
    if stock is None:
        return f"{type(model).__name__} cannot be made from its config"
    return next(iter(differences(shapes_of(model), shapes_of(stock))), None)
