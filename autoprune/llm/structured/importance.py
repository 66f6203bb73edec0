"""How much of what a group's readers compute comes from each unit: activation times weight norm.

A reader is a linear layer y = W x. Without column p of W, y loses W[:, p] x_p, whose mean square over tokens is
||W[:, p]||^2 E[x_p^2]: Wanda's score of a column, squared and summed over rows. A unit's importance is the root of
that, summed over all columns in all layers that read it. Minitron's scores are of the activations alone; this one also
knows that an activation without a weight does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.graph import Group
from autoprune.llm.structured.base import Calibration
from autoprune.models.modes import in_mode

__all__ = ["InputSquares", "importance", "measure_inputs"]


class InputSquares:
    """Mean squares of what linear layers read, by module; float64 (inputs,)."""

    def __init__(self) -> None:
        self._sums: dict[nn.Module, Tensor] = {}
        self._counts: dict[nn.Module, int] = {}

    def add(self, module: nn.Module, x: Tensor) -> None:
        """Some more inputs, (..., inputs)."""
        rows = x.detach().reshape(-1, x.shape[-1]).double()
        self._sums[module] = self._sums.get(module, 0.0) + rows.square().sum(0)
        self._counts[module] = self._counts.get(module, 0) + len(rows)

    def of(self, module: nn.Module) -> Tensor | None:
        """Those of a module; None if it has read nothing."""
        return self._sums[module] / self._counts[module] if module in self._sums else None


def measure_inputs(network: Any, groups: Sequence[Group], calibration: Calibration) -> InputSquares:
    """Run the calibration text once and watch what reads the groups."""
    squares = InputSquares()

    def watch(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            squares.add(module, args[0])

    readers = {reader for group in groups for reader, _, _, _ in _readers(network, group)}
    handles = [reader.register_forward_pre_hook(watch) for reader in readers]
    device = next(network.parameters()).device
    try:
        with torch.no_grad(), in_mode(network):
            for done, window in enumerate(torch.split(calibration.windows, 1)):
                network(input_ids=window.to(device), use_cache=False)
                calibration.progress(done + 1, len(calibration.windows), "windows read")
    finally:
        for handle in handles:
            handle.remove()
    return squares


def importance(network: nn.Module, group: Group, squares: InputSquares, parts: int = 1) -> Tensor:
    """Importance of every unit of a group, float64 (units,); (units, parts) where its parts are scored apart.

    Args:
        network: What was watched.
        group: Of its analysis.
        squares: What `measure_inputs` saw.
        parts: Equal stretches of a unit's positions, such as the query heads of a group of keys and values.
    """
    total = torch.zeros(group.width, parts, dtype=torch.float64)
    for reader, weight, dim, positions in _readers(network, group):
        mean = squares.of(reader)
        if mean is None:
            continue
        columns = weight.detach().double().movedim(dim, 0).flatten(1).square().sum(1)
        total += (columns * mean).cpu()[positions].reshape(group.width, parts, -1).sum(2)
    return total.sqrt().squeeze(1) if parts == 1 else total.sqrt()


def _readers(network: nn.Module, group: Group) -> list[tuple[nn.Module, Tensor, int, Tensor]]:
    """(module, its weight, the dimension of inputs, positions of the units in it) of all that reads a group.

    An embedding that is the output layer too reads in the layer that it is tied to.
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    found: list[tuple[nn.Module, Tensor, int, Tensor]] = []
    for member in group.members:
        tensor = parameters.get(member.tensor)
        if member.reads and tensor is not None:
            owners = [m for m in network.modules() if getattr(m, "weight", None) is tensor]
            found += [(m, tensor, member.dim, member.positions) for m in owners if not isinstance(m, nn.Embedding)]
    return found
