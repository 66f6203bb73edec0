"""Which groups can be seen in the outputs of a run, so that none of them can hide what is wrong with another.

Where many groups are cut at once, a fault of one of them shows only if its units reach the output: behind a width that
is down to one unit, say, nothing before it does. The gradient tells. A group counts as seen where the weights of each
layer that makes, carries or reads its kept units move a few numbers of the output by far more than the tolerance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from autoprune.graph.analysis import Index
from autoprune.graph.surgery.slicer import Slicer, dense_shapes

__all__ = ["Sight"]

_NUMBERS = 8  # of each output tensor that are looked at: what shows there is seen by the comparison of all
_FACTOR = 30.0  # tolerances by which a layer must move them

_Place = tuple[str, str, int, torch.Tensor]  # group, module, dimension, positions along it


class Sight:
    """Looks which groups of a set show in the outputs of one cut network.

    Args:
        slicer: Of the analysis.
        kept: Name of each group of the set -> the units that stay.
        parameters: Qualified name -> parameter of the cut network; gradients are asked of those alone that hold units.
    """

    def __init__(self, slicer: Slicer, kept: Mapping[str, Index], parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self._squares: dict[tuple[str, str], float] = {}
        for every in parameters.values():
            every.requires_grad_(False)
        for name, found in _places(slicer, kept).items():
            parameter = parameters.get(name)
            if parameter is None:  # a buffer
                continue
            self._squares |= {(group, module): 0.0 for group, module, _, _ in found}
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_(True)
                parameter.register_post_accumulate_grad_hook(partial(self._note, found))  # type: ignore[no-untyped-call]

    def seen(self, outputs: Sequence[torch.Tensor], tolerance: float, generator: torch.Generator) -> set[str]:
        """The groups that show.

        Args:
            outputs: The tensors that the network returned, with their history.
            tolerance: Of the comparison, relative to each tensor's largest number.
            generator: Draws which numbers are looked at.
        """
        looked = [_numbers(tensor, generator) for tensor in outputs if tensor.requires_grad]
        if not looked:
            return set()
        numbers = torch.cat(looked)
        numbers.sum().backward()  # type: ignore[no-untyped-call]
        least = _FACTOR * tolerance * math.sqrt(len(numbers))
        hidden = {group for (group, _), square in self._squares.items() if not math.sqrt(square) >= least}
        return {group for group, _ in self._squares} - hidden

    def _note(self, places: Sequence[_Place], parameter: torch.Tensor) -> None:
        """What the numbers would move by if these weights were others of their size; the gradient is let go of."""
        assert parameter.grad is not None
        effect, parameter.grad = parameter.grad, None
        effect.mul_(parameter.detach())  # in place: that of a large vocabulary is large
        effect = (effect.abs() if effect.is_complex() else effect.abs_()).square_()
        for group, module, dim, at in places:
            others = [other for other in range(effect.dim()) if other != dim]
            along = effect.sum(others) if others else effect
            self._squares[group, module] += float(along[at.to(along.device)].sum())


def _places(slicer: Slicer, kept: Mapping[str, Index]) -> dict[str, list[_Place]]:
    """Tensor -> where the kept units of these groups lie in the cut one."""
    sizes = dense_shapes(slicer.analysis)
    found: dict[str, list[_Place]] = defaultdict(list)
    for name, units in kept.items():
        for member in slicer.analysis.group(name).members:
            left = dict(slicer.indices(member.tensor, sizes[member.tensor], kept))[member.dim]
            dense = member.positions.numpy()[units].reshape(-1)
            at = torch.from_numpy(np.searchsorted(left, dense))
            found[member.tensor].append((name, member.module, member.dim, at))
    return found


def _numbers(output: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A few finite numbers of an output, relative to its largest one, with random signs.

    Returns:
        (at most ``_NUMBERS``,) float64, with its history.
    """
    flat = (torch.view_as_real(output) if output.is_complex() else output).reshape(-1)
    finite = flat.detach().isfinite().nonzero().reshape(-1)
    drawn = torch.randint(len(finite), (_NUMBERS if len(finite) else 0,), generator=generator)
    signs = torch.randint(2, drawn.shape, generator=generator).to(flat) * 2 - 1
    scale = float(flat.detach()[finite].abs().max()) if len(finite) else 1.0
    return (flat[finite[drawn.to(finite.device)]] * signs).double() / (scale or 1.0)
