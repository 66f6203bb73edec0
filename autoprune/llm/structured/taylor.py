"""LLM-Pruner's importance: what the loss would lose with a coupled structure, by its gradients on a few short texts.

Ma, Fang and Wang, LLM-Pruner: On the structural pruning of large language models, NeurIPS 2023. With g the mean
gradient and F the mean squared gradient of single texts, the parameter w counts

    first   |w g|
    mixed   |w g - w F w / 2|

summed over all that is coupled to a unit: a neuron's rows and its column, a head group's queries, keys, values and its
columns of the output projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.graph import Group
from autoprune.llm.structured.base import Calibration
from autoprune.models.modes import in_mode

__all__ = ["Order", "Slopes", "slopes", "taylor_importance"]

Order = Literal["first", "mixed"]

_TEXTS, _TOKENS = 10, 128  # windows of the calibration text, and of each its first tokens


@dataclass(frozen=True, eq=False)
class Slopes:
    """Gradients of the loss by parameters.

    Attributes:
        mean: Name -> mean over texts.
        squares: Name -> mean over texts of the squares.
    """

    mean: dict[str, Tensor]
    squares: dict[str, Tensor]


def slopes(network: nn.Module, groups: Sequence[Group], calibration: Calibration) -> Slopes:
    """Gradients by all parameters that belong to groups, text by text.

    Args:
        network: In any mode; its own gradients stay as they were.
        groups: Of its analysis.
        calibration: Its first ten windows are read, 128 tokens of each.

    Raises:
        InputError: If a gradient is not finite.
    """
    named = dict(network.named_parameters(remove_duplicate=False))
    names = sorted({member.tensor for group in groups for member in group.members if member.tensor in named})
    wanted = [named[name] for name in names]
    before = [parameter.requires_grad for parameter in wanted]
    mean = {name: torch.zeros_like(named[name], dtype=torch.float32) for name in names}
    squares = {name: torch.zeros_like(named[name], dtype=torch.float32) for name in names}
    windows = calibration.windows[:_TEXTS, :_TOKENS]
    try:
        for parameter in wanted:
            parameter.requires_grad_(True)
        with in_mode(network):
            for done, window in enumerate(windows):
                for name, slope in zip(names, _gradients(network, window, wanted), strict=True):
                    mean[name] += slope.float() / len(windows)
                    squares[name] += slope.float().square() / len(windows)
                calibration.progress(done + 1, len(windows), "gradients of texts")
    finally:
        for parameter, own in zip(wanted, before, strict=True):
            parameter.requires_grad_(own)
    wrong = next((name for name in names if not bool(torch.isfinite(squares[name]).all())), None)
    if wrong is not None:
        raise InputError(f"the gradient by {wrong} on the calibration text is not finite; check the model's weights")
    return Slopes(mean, squares)


def taylor_importance(network: nn.Module, group: Group, found: Slopes, order: Order = "mixed") -> Tensor:
    """Importance of every unit of a group, float64 (units,)."""
    named = dict(network.named_parameters(remove_duplicate=False))
    total = torch.zeros(group.width, dtype=torch.float64)
    for member in group.members:
        if member.tensor not in found.mean:
            continue
        weight = named[member.tensor].detach().float()
        change = weight * found.mean[member.tensor]
        if order == "mixed":
            change = change - weight.square() * found.squares[member.tensor] / 2
        places = change.abs().double().movedim(member.dim, 0).flatten(1).sum(1).cpu()
        total += places[member.positions].reshape(group.width, -1).sum(1)
    return total


def _gradients(network: Any, window: Tensor, wanted: Sequence[Tensor]) -> tuple[Tensor, ...]:
    ids = window[None].to(wanted[0].device)
    with torch.enable_grad():
        logits = network(input_ids=ids, use_cache=False).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        return torch.autograd.grad(loss, list(wanted), allow_unused=False)
