"""How the user's own forward calls its modules: read off one run with hooks."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoprune.graph.trace.quiet import quiet
from autoprune.models.copying import isolated
from autoprune.models.inputs.example import Example

__all__ = ["Call", "calls_of"]


@dataclass(frozen=True)
class Call:
    """One way in which a module is called; see `Swap` for the first fields.

    Attributes:
        same: For each dimension of the result, whether it is as long as the argument's; None where
            their numbers differ.
    """

    argument: int | str
    form: tuple[bool, ...] | None
    plain: bool
    same: tuple[bool, ...] | None


def calls_of(model: nn.Module, example: Example) -> dict[str, Call]:
    """Qualified name of every module that is called, always in one way, with tensors -> that way.

    The input is the first argument of the output's shape, else the first tensor.

    Args:
        model: Any module that runs on the example; not changed.
        example: An example input.
    """
    shadow = isolated(model).eval()
    seen: dict[str, set[Call | None]] = {}

    def hook(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            seen.setdefault(name, set()).add(_call(args, kwargs, output))

        return note

    for name, module in shadow.named_modules():
        module.register_forward_hook(hook(name), with_kwargs=True)
    with quiet(), torch.no_grad():
        example.run(shadow)
    return {name: call for name, ways in seen.items() if len(ways) == 1 for call in ways if call is not None}


def _call(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Call | None:
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    tensors = {place: value for place, value in given if isinstance(value, torch.Tensor)}
    parts = list(output) if isinstance(output, tuple | list) else [output]
    results = [place for place, part in enumerate(parts) if isinstance(part, torch.Tensor)]
    if not tensors or not results:
        return None
    shape = parts[results[0]].shape
    argument = next((place for place, tensor in tensors.items() if tensor.shape == shape), next(iter(tensors)))
    form = None if isinstance(output, torch.Tensor) else tuple(place == results[0] for place in range(len(parts)))
    source = tensors[argument].shape
    same = tuple(map(operator.eq, source, shape)) if len(source) == len(shape) else None
    return Call(argument, form, len(given) == 1 and argument == 0, same)
