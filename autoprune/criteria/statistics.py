"""The one pass over calibration data that gathers whatever criteria need, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.criteria.known import Need, TensorStatistics
from autoprune.errors import InputError
from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models.modes import in_mode
from autoprune.models.outputs import in_float32, inputs_of, moved, output_of
from autoprune.models.own_loss import own_loss
from autoprune.models.precision import device_of

__all__ = ["BatchLoss", "gathered"]

BatchLoss = Callable[[Any, Any], Tensor]
"""Loss of (model output, batch), a scalar."""

_Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def gathered(
    model: nn.Module, batches: Iterable[Any], needs: Collection[Need], loss: BatchLoss | None = None
) -> dict[str, TensorStatistics]:
    """Statistics of every tensor of weights.

    Args:
        model: Left as it is, gradients included; evaluated in evaluation mode.
        batches: (images, labels) or whatever `loss` understands; gone through once, not at all if nothing is needed.
        needs: `gradients`, `inputs`.
        loss: Of (output, batch); cross-entropy if not given.

    Returns:
        By qualified name of the parameter; empty if nothing is needed.

    Raises:
        InputError: If something is needed and there are no batches.
    """
    if not needs:
        return {}
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1 and p.is_floating_point()}
    device, count = device_of(model), 0
    gradients, inputs = _Gradients(weights), _Inputs(model)
    with in_mode(model), ExitStack() as hooks:
        if "inputs" in needs:
            inputs.watch(hooks)
        for batch in batches:
            batch = moved(batch, device)
            count += 1
            if "gradients" in needs:
                gradients.add(_loss(model, batch, loss))
            else:
                images = inputs_of(batch)
                with torch.no_grad(), UserCode(f"the network {path_of(model)}"):
                    model(images)
    if not count:
        raise InputError("there are no calibration images to gather the criterion's statistics on")
    found = gradients.means(count) if "gradients" in needs else {}
    norms = inputs.norms()
    return {
        name: replace(found.get(name, TensorStatistics()), input_norm=norms.get(name))
        for name in dict.fromkeys((*found, *norms))
    }


def _loss(model: nn.Module, batch: Any, loss: BatchLoss | None) -> Tensor:
    images = inputs_of(batch)
    with UserCode(f"the network {path_of(model)}"):
        output = model(images)
    if loss is not None:
        return own_loss(loss, in_float32(output), batch)
    return functional.cross_entropy(output_of(output).float(), batch[1])


class _Gradients:
    """Sums over batches of gradients, their absolute values and their squares; parameters' own `grad` is not used."""

    def __init__(self, weights: dict[str, nn.Parameter]) -> None:
        self._weights = {name: weight for name, weight in weights.items() if weight.requires_grad}
        self._sums = {name: torch.zeros(3, *w.shape, dtype=torch.float64) for name, w in self._weights.items()}

    def add(self, loss: Tensor) -> None:
        found = torch.autograd.grad(loss, list(self._weights.values()), allow_unused=True)
        for name, gradient in zip(self._weights, found, strict=True):
            if gradient is not None:
                own = gradient.to("cpu", torch.float64)
                self._sums[name] += torch.stack([own, own.abs(), own.square()])

    def means(self, count: int) -> dict[str, TensorStatistics]:
        """Mean gradient, mean absolute and mean squared gradient by parameter."""
        return {name: TensorStatistics(*(total / count)) for name, total in self._sums.items()}


class _Inputs:
    """Squared norms of what convolutions and linear layers read, by input channel."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = {name: m for name, m in model.named_modules() if isinstance(m, _Layer)}
        self._squares: dict[str, Tensor] = {}

    def watch(self, hooks: ExitStack) -> None:
        for name, layer in self._layers.items():
            hook = layer.register_forward_pre_hook(lambda module, given, name=name: self._add(name, module, given[0]))
            hooks.callback(hook.remove)

    def _add(self, name: str, layer: nn.Module, given: Tensor) -> None:
        axis = given.ndim - 1 if isinstance(layer, nn.Linear) else 1
        others = [dim for dim in range(given.ndim) if dim != axis]
        squares = given.detach().double().square()
        total = (squares.sum(dim=others) if others else squares).cpu()
        self._squares[name] = self._squares.get(name, 0) + total

    def norms(self) -> dict[str, Tensor]:
        """Norms in the shape that broadcasts to each layer's weight, by parameter."""
        return {
            f"{name}.weight".lstrip("."): _as_weight(self._layers[name], squares.sqrt())
            for name, squares in self._squares.items()
        }


def _as_weight(layer: nn.Module, norms: Tensor) -> Tensor:
    """(in,) as it meets a weight: (in,) of a linear layer, (out or 1, in / groups, 1, ...) of a convolution."""
    if isinstance(layer, nn.Linear):
        return norms
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    by_group = norms.reshape(layer.groups, -1).repeat_interleave(layer.out_channels // layer.groups, dim=0)
    return by_group.reshape(layer.out_channels, -1, *[1] * (layer.weight.ndim - 2))
