"""The same network with its units in another order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.graph.analysis import Analysis
from autoprune.graph.surgery.cut import require_same
from autoprune.models.copying import duplicate

__all__ = ["reordered"]


def reordered(model: nn.Module, analysis: Analysis, orders: Mapping[str, torch.Tensor]) -> nn.Module:
    """A copy of a model whose groups' units stand in another order, in all tensors that make, carry or read them.

    Groups couple whatever must change together, so the function stays the same up to rounding, unless something in
    between tells the units apart by their places (neighbours, slices); the caller compares outputs.

    Args:
        model: The dense model; not changed.
        analysis: What `analyse` returned for it.
        orders: Group name -> (units,) int64: unit `order[i]` comes to place i.

    Raises:
        InputError: If an order is none of the group's units.
        PolicyMismatchError: The analysis was made for another model.
    """
    require_same(model, analysis)
    new = duplicate(model)
    tensors = {**dict(new.named_parameters()), **dict(new.named_buffers())}
    with torch.no_grad():
        for name, order in orders.items():
            group = analysis.group(name)
            if not torch.equal(order.sort().values, torch.arange(group.width)):
                raise InputError(f"{name}: an order must name each of its {group.width} units once")
            for member in group.members:
                tensor = tensors[member.tensor]
                to, source = (at.flatten().to(tensor.device) for at in (member.positions, member.positions[order]))
                tensor.index_copy_(member.dim, to, tensor.index_select(member.dim, source))
    return new
