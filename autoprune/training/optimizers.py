"""Optimisers by name: stochastic gradient descent, AdamW, or one of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from autoprune.errors import InputError
from autoprune.foundations.names import closest
from autoprune.foundations.references import is_reference, resolve
from autoprune.foundations.user_code import UserCode, wrong_form
from autoprune.training.settings import TrainSettings

__all__ = ["OPTIMIZERS", "check_optimizer", "make_optimizer"]

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, settings: TrainSettings, given: Mapping[str, Any]) -> Optimizer:
    parameters = [parameter for group in groups for parameter in group["params"]]
    return torch.optim.SGD(parameters, momentum=settings.momentum, nesterov=settings.momentum > 0, **given)


def _adamw(groups: Groups, settings: TrainSettings, given: Mapping[str, Any]) -> Optimizer:
    """Biases and the scales of norms do not decay, as in the field's recipes for transformers."""
    rest = {name: value for name, value in given.items() if name != "weight_decay"}
    return torch.optim.AdamW([groups[0] | _decay(given), groups[1] | {"weight_decay": 0.0}], **rest)


def _decay(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"weight_decay": given["weight_decay"]} if "weight_decay" in given else {}


OPTIMIZERS: dict[str, Callable[[Groups, TrainSettings, Mapping[str, Any]], Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}
"""Makers by name, of (parameters that decay and that do not, settings, the rates that are given)."""


def check_optimizer(name: str) -> None:
    """Refuse an optimiser that there is not, before anything is trained.

    Raises:
        InputError: If the name is neither known nor `package.module:name` of something that can be called.
    """
    if name in OPTIMIZERS:
        return
    if not is_reference(name):
        raise InputError(
            f"there is no optimizer {name!r}; the nearest name is {closest(name, OPTIMIZERS)}. There are"
            f" {', '.join(OPTIMIZERS)}, and package.module:name"
        )
    resolve(name, "--optimizer")


def make_optimizer(model: nn.Module, settings: TrainSettings, *, leading: int = 0) -> Optimizer:
    """The optimiser of the settings on the parameters of a model that need a gradient.

    One of the user's own is called as `name(parameters, lr=..., weight_decay=...)`, without those that are not set.

    Args:
        model: What is trained.
        settings: Of the training.
        leading: Dimensions that every parameter has before its own, where several networks are stacked.

    Raises:
        InputError: If there is nothing to train, or the user's own cannot be made.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise InputError("the model has no parameter that needs a gradient; there is nothing to train")
    rates = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    given: dict[str, Any] = {name: value for name, value in rates.items() if value is not None}
    check_optimizer(settings.optimizer)
    if settings.optimizer in OPTIMIZERS:
        groups = [{"params": [p for p in trained if (p.ndim - leading > 1) == decays]} for decays in (True, False)]
        fused = {"fused": True} if settings.fused and _can_be_fused(model, trained) else {}
        return OPTIMIZERS[settings.optimizer](groups, settings, given | fused)
    return _own(settings.optimizer, trained, given)


def _can_be_fused(model: nn.Module, trained: list[nn.Parameter]) -> bool:
    """Whether torch's fused kernels are right for these weights: they go over memory as it lies, and know no gaps."""
    sparse = any(getattr(module, "sparse", False) for module in model.modules())  # gradients of an embedding
    dense = all(p.is_contiguous() and p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in trained)
    return dense and not sparse


def _own(name: str, trained: list[nn.Parameter], given: Mapping[str, Any]) -> Optimizer:
    factory, what = resolve(name, "--optimizer"), f"the optimizer {name}"
    with UserCode(what):
        made = factory(trained, **given)
    if not isinstance(made, Optimizer):
        raise wrong_form(what, made, "a torch.optim.Optimizer")
    return made
