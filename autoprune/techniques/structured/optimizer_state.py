"""The optimiser goes through a cut, too: momentum and Adam's moments are sliced like the weights, not dropped."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.graph import Analysis, index_map
from autoprune.graph.surgery.slicer import take

__all__ = ["carry_state", "slice_optimizer"]

Slices = Sequence[tuple[int, Tensor]]


def slice_optimizer(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    small: nn.Module,
    analysis: Analysis,
    kept: Mapping[str, Sequence[int]],
) -> torch.optim.Optimizer:
    """An optimiser for the cut network that goes on where the dense network's stood.

    Its parameter groups, their settings and every state tensor are those of `optimizer`, the tensors at the kept units:
    momentum, Adam's moments, Adafactor's rows and columns. A step on the cut network moves its weights as the same step
    on the zeroed dense network moves the kept ones, as long as the rule works element by element. A learning-rate
    scheduler has to be made anew for the optimiser that comes back.

    Args:
        optimizer: The dense network's; left as it is.
        model: The dense network.
        small: What `autoprune.graph.cut` made of it.
        analysis: The dense network's analysis.
        kept: Group name -> indices of the units that stayed, as `cut` was given them.

    Returns:
        An optimiser of the same class.

    Raises:
        InputError: If the optimiser holds parameters that are not the model's, `small` is another cut, or the state
            has tensors that are not laid out like their parameter.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own, slices = dict(small.named_parameters()), index_map(analysis, kept)
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        stays = []
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is None:
                raise InputError("the optimiser holds a parameter that is not the model's; was it made for another?")
            if name in own:  # what a dropped block held is gone
                stays.append(own[name])
        settings = {key: value for key, value in group.items() if key not in ("params", "param_names")}
        groups.append({"params": stays, **copy.deepcopy(settings)})
    sliced = _like(optimizer, groups)
    carry_state(optimizer, model, sliced, small, slices)
    return sliced


def carry_state(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    goal: torch.optim.Optimizer,
    small: nn.Module,
    slices: Mapping[str, Slices],
) -> None:
    """Give the optimiser of a cut network what another remembers of the network that it was cut from.

    Args:
        optimizer: Of `model`; left as it is.
        model: The wider network.
        goal: Of `small`; its groups and settings stay its own.
        small: The cut network.
        slices: Tensor name -> [(dimension, kept positions in `model`'s)].

    Raises:
        InputError: If `small` is another cut, or the state has tensors that are not laid out like their parameter.
    """
    before = dict(model.named_parameters())
    trained = {id(parameter) for group in goal.param_groups for parameter in group["params"]}
    for name, own in small.named_parameters():
        if id(own) not in trained:
            continue
        found, parameter = slices.get(name, []), before[name]
        if _shape(parameter, found) != own.shape:
            raise InputError(f"{name} is {list(own.shape)} in the small network; it was not cut by these kept units")
        if parameter in optimizer.state:
            state = optimizer.state[parameter]
            goal.state[own] = {key: _sliced(value, parameter, found, key, name) for key, value in state.items()}


def _like(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """An optimiser of the same class; some defaults are none of its constructor's arguments (AdamW's)."""
    takes = inspect.signature(type(optimizer).__init__).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    defaults = {name: value for name, value in optimizer.defaults.items() if anything or name in takes}
    try:
        return type(optimizer)(groups, **copy.deepcopy(defaults))
    except (TypeError, ValueError) as error:
        raise InputError(f"{type(optimizer).__name__} cannot be made again for the small network: {error}") from error


def _shape(parameter: Tensor, slices: Slices) -> torch.Size:
    sizes = list(parameter.shape)
    for dim, index in slices:
        sizes[dim] = len(index)
    return torch.Size(sizes)


def _sliced(value: Any, parameter: Tensor, slices: Slices, key: str, name: str) -> Any:
    """One entry of a parameter's state at the kept units; numbers and single values stay as they are.

    Raises:
        InputError: If it is a tensor that is not laid out like the parameter.
    """
    if not isinstance(value, Tensor) or value.numel() == 1:
        return copy.deepcopy(value)
    # A dimension that the optimiser has reduced to 1 (Adafactor's) has nothing to slice.
    fits = value.dim() == parameter.dim() and all(
        size in (1, dense) for size, dense in zip(value.shape, parameter.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"the optimiser's {key!r} of {name} is {list(value.shape)}, the parameter {list(parameter.shape)}:"
            " nobody knows which of it belongs to which unit; make a new optimiser for the small network"
        )
    there = [(dim, index.to(value.device)) for dim, index in slices if value.shape[dim] == parameter.shape[dim]]
    return take(value.detach(), there)
