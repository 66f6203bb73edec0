"""What weights are multiplied with, by input channel: of layers, and of parameters that are multiplied without one.

Products are watched where they happen, in calls of torch's functions, not in layers: `nn.MultiheadAttention` gives its
weights to such calls itself, transformers' `Conv1D` and plain parameters are no linear layers, and a tied weight is one
parameter however many layers read it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from autoprune.criteria.gatherers.base import Gatherer
from autoprune.criteria.known import TensorStatistics

__all__ = ["Inputs"]

_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_AS_LINEAR: Mapping[Any, tuple[str, ...]] = {
    functional.linear: ("input", "weight"),
    **dict.fromkeys(_CONVOLUTIONS, ("input", "weight", "bias", "stride", "padding", "dilation", "groups")),
}
_AS_MATRICES: Mapping[Any, tuple[str, ...]] = {
    torch.addmm: ("bias", "input", "mat2"),
    torch.mm: ("input", "mat2"),
    torch.matmul: ("input", "other"),
    Tensor.mm: ("input", "mat2"),
    Tensor.matmul: ("input", "other"),
    Tensor.__matmul__: ("input", "other"),
}


@dataclass(frozen=True)
class _Place:
    """Which part of a parameter a product reads, and how: first row, rows, dimension of the inputs, groups."""

    start: int
    rows: int
    inputs: int
    groups: int = 1


class Inputs(Gatherer):
    """Squared norms and numbers of zeros of the inputs, by channel."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = dict(model.named_parameters())  # a shared one under the first of its names
        self._owners: dict[int, list[str]] = {}
        for name, parameter in self._parameters.items():
            self._owners.setdefault(parameter.untyped_storage().data_ptr(), []).append(name)
        self._sums: dict[str, dict[_Place, Tensor]] = {}  # (3, in): squares, zeros, positions

    def watch(self, hooks: ExitStack) -> None:
        """Look at the operands of every product."""
        hooks.enter_context(_Watching(self._called))

    def _called(self, called: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if called is functional.multi_head_attention_forward:
            self._attention(args, kwargs)
            return
        names = _AS_LINEAR.get(called) or _AS_MATRICES.get(called)
        if names is None:
            return
        operands = {**dict(zip(names, args, strict=False)), **kwargs}
        given, weight = operands.get("input"), operands.get("weight", operands.get("mat2", operands.get("other")))
        if not (isinstance(given, Tensor) and isinstance(weight, Tensor)) or weight.dim() < 2:
            return
        axis = given.dim() - weight.dim() + 1 if called in _CONVOLUTIONS else given.dim() - 1
        self._add(given, axis, weight, 1 if called in _AS_LINEAR else 0, int(operands.get("groups", 1)))

    def _add(self, given: Tensor, axis: int, weight: Tensor, inputs: int = 1, groups: int = 1) -> None:
        """A product of a weight, whose dimension `inputs` meets the dimension `axis` of what is given."""
        for name in self._owners.get(weight.untyped_storage().data_ptr(), ()):
            place = _place(self._parameters[name], weight, inputs, groups)
            if place is not None:
                own = self._sums.setdefault(name, {})
                own[place] = own.get(place, 0) + _sums(given.detach().movedim(axis, 0).flatten(1))

    def _attention(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The products inside of a call of attention, which is one call to whoever watches."""
        operands = inspect.signature(functional.multi_head_attention_forward).bind(*args, **kwargs).arguments
        width, given = operands["embed_dim_to_check"], [operands[name] for name in ("query", "key", "value")]
        if operands.get("use_separate_proj_weight"):
            weights = [operands[f"{name}_proj_weight"] for name in "qkv"]
        else:
            weights = operands["in_proj_weight"].split(width)
        for one, weight in zip(given, weights, strict=True):
            self._add(one, one.dim() - 1, weight)
        out = operands["out_proj_weight"]
        plain = {**operands, "out_proj_weight": torch.eye(width).to(out), "out_proj_bias": None, "training": False}
        context = functional.multi_head_attention_forward(**plain)[0]  # what the output projection reads
        self._add(context, context.dim() - 1, out)

    def statistics(self, batches: int) -> dict[str, TensorStatistics]:
        """Norms and shares of zeros in the shape that broadcasts to each parameter."""
        found = {}
        for name, sums in self._sums.items():
            squares, zeros, positions = _together(self._parameters[name], sums)
            norms = torch.where(positions > 0, squares.sqrt(), 1.0)  # rows that nothing was multiplied with
            found[name] = TensorStatistics(input_norm=norms, input_zeros=zeros / positions.clamp_min(1))
        return found


class _Watching(TorchFunctionMode):
    """Shows every call of a function of torch to a callback before it is made."""

    def __init__(self, look: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._look = look

    def __torch_function__(
        self, called: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._look(called, args, kwargs or {})
        return called(*args, **(kwargs or {}))


def _place(parameter: Tensor, weight: Tensor, inputs: int, groups: int) -> _Place | None:
    """Where a product's weight lies in a parameter: all of it, turned round, or some of its rows; None elsewhere."""
    shift = int(weight.storage_offset()) - int(parameter.storage_offset())
    if weight.shape[1:] == parameter.shape[1:] and weight.stride() == parameter.stride():
        start, rest = divmod(shift, parameter.stride(0))
        inside = not rest and 0 <= start <= len(parameter) - len(weight)
        return _Place(start, len(weight), inputs, groups) if inside else None
    turned = parameter.dim() == 2 and weight.shape == parameter.shape[::-1] and not shift
    if turned and weight.stride() == parameter.stride()[::-1]:
        return _Place(0, len(parameter), 1 - inputs)
    return None


def _sums(channels: Tensor) -> Tensor:
    """(in, positions) to squares, zeros and positions, (3, in), float64 on the CPU."""
    squares, zeros = channels.double().square().sum(1), (channels == 0).sum(1).double()
    return torch.stack([squares, zeros, torch.full_like(zeros, channels.shape[1])]).cpu()


def _together(parameter: Tensor, sums: Mapping[_Place, Tensor]) -> Tensor:
    """What all products read, (3, ...), broadcasting to a parameter."""
    if len(sums) == 1:
        ((place, one),) = sums.items()
        if place.rows == len(parameter):
            return _as_weight(parameter, place, one)
    total = torch.zeros(3, *parameter.shape[:2], *[1] * (parameter.dim() - 2), dtype=torch.float64)
    for place, one in sums.items():
        rows = slice(place.start, place.start + place.rows)
        total[:, rows] += _as_weight(parameter[rows], place, one)
    return total


def _as_weight(weight: Tensor, place: _Place, channels: Tensor) -> Tensor:
    """(3, in) as it meets a weight: (3, 1, in) of a matrix, (3, in, 1) of one turned round, (3, out, in, 1, ...)."""
    if weight.dim() == 2:
        return channels.unsqueeze(2 - place.inputs)
    by_group = channels.reshape(3, place.groups, -1).repeat_interleave(len(weight) // place.groups, dim=1)
    return by_group.reshape(3, len(weight), -1, *[1] * (weight.dim() - 2))
