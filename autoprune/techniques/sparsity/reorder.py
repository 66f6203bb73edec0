"""Units in an order in which N of every M neighbours keep more: before a mask, and without changing the function.

The inputs of a layer are units that others make and others read, too. All readers of one width share one order, and
what makes it follows; the analysis of the network knows these groups (a residual stream is one of them). The idea is
that of NVIDIA's ASP (Pool and Yu, "Channel Permutations for N:M Sparsity", NeurIPS 2021); search and code are not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.graph import Analysis, Group, Member
from autoprune.graph.proof.comparison import difference
from autoprune.graph.proof.draws import steady_draws
from autoprune.graph.proof.network_copy import Shadows, call
from autoprune.graph.surgery.reorder import reordered
from autoprune.graph.trace.export import trace
from autoprune.graph.trace.quiet import quiet
from autoprune.masks.n_of_m import NofM
from autoprune.masks.order import Order, best_order, kept_of
from autoprune.models.inputs.example import as_example
from autoprune.models.precision import device_of
from autoprune.techniques.sparsity.tensors import Weight, weights_of

__all__ = ["Reordered", "reorder"]


@dataclass(frozen=True, eq=False)
class Reordered:
    """A network in another order.

    Attributes:
        model: The same function, as was proved like a cut.
        orders: Group name -> (units,) int64: unit `order[i]` came to place i. Groups that stay as they are left out.
        before: Sum of the saliencies that the pattern kept in the weights that have it, before.
        after: And now.
        refused: Group name -> why its order stayed.
        complete: Whether every search ended by itself, within its time: then the result is the same every time.
    """

    model: nn.Module
    orders: Mapping[str, Tensor]
    before: float
    after: float
    refused: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True

    @property
    def gain(self) -> float:
        """What the pattern keeps more, as a share of what it kept: 0.02 is 2 %."""
        return self.after / self.before - 1 if self.before > 0 else 0.0


def reorder(
    model: nn.Module,
    analysis: Analysis,
    example: Any,
    pattern: NofM,
    *,
    seconds: float = 60.0,
    saliencies: Mapping[str, Tensor] | None = None,
    weights: Iterable[str] | None = None,
) -> Reordered:
    """Search an order of units for every group in which a pattern keeps more of the weights that read it.

    Args:
        model: The dense model; not changed.
        analysis: What `analyse` returned for it.
        example: An input of the model, on which the new order is proved.
        pattern: N:M.
        seconds: For the searches of all groups together, shared by the sizes of what they look at. Proofs come on top.
        saliencies: Name of a parameter -> how much each of its weights matters; magnitudes where there are none.
        weights: Names of the parameters that are to have the pattern; all that can.

    Returns:
        The network, the orders and the gain.
    """
    wanted = _wanted(analysis, pattern, weights)
    ranks = _ranks(model, wanted, saliencies or {})
    orders, refused, complete = _searched(analysis, wanted, ranks, pattern, seconds)
    proved, unlike = _proved(model, analysis, orders, example)
    before, after = (_total(wanted, _moved(ranks, analysis, found), pattern) for found in ({}, proved))
    new = reordered(model, analysis, proved)
    return Reordered(new, proved, before, after, {**refused, **unlike}, complete)


def _wanted(analysis: Analysis, pattern: NofM, names: Iterable[str] | None) -> dict[str, Weight]:
    known = weights_of(analysis).weights
    chosen = known if names is None else set(names)
    return {name: weight for name, weight in known.items() if name in chosen and pattern.why_not(weight.shape) is None}


def _ranks(model: nn.Module, wanted: Mapping[str, Weight], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    return {name: given.get(name, parameters[name].detach().abs()).to("cpu", torch.float64) for name in wanted}


def _searched(
    analysis: Analysis, wanted: Mapping[str, Weight], ranks: Mapping[str, Tensor], pattern: NofM, seconds: float
) -> tuple[dict[str, Tensor], dict[str, str], bool]:
    """(orders that keep more, why other groups stay, whether time sufficed)."""
    matrices = {group.name: _matrix(group, wanted, ranks, pattern) for group in analysis.groups}
    refused = {name: "no weight reads its units as neighbours" for name, matrix in matrices.items() if matrix is None}
    known = {name: matrix for name, matrix in matrices.items() if matrix is not None}
    orders, complete, end = {}, True, time.monotonic() + seconds
    for number, (name, matrix) in enumerate(sorted(known.items(), key=lambda item: item[1].numel())):
        rest = sorted(each.numel() for each in known.values())[number:]
        share = matrix.numel() / sum(rest)  # the smallest first: what they leave goes to the larger ones
        order = best_order(matrix, pattern, max(0.0, end - time.monotonic()) * share)
        complete &= order.complete
        reason = _no_gain(analysis, name, order, wanted, ranks, pattern)
        if reason is None:
            orders[name] = order.places
        else:
            refused[name] = reason
    return orders, refused, complete


def _no_gain(
    analysis: Analysis,
    name: str,
    order: Order,
    wanted: Mapping[str, Weight],
    ranks: Mapping[str, Tensor],
    pattern: NofM,
) -> str | None:
    """Why a group keeps its order: none that keeps more was found, readers elsewhere counted too."""
    if order.after <= order.before:
        return "no order keeps more"
    touched = {member.tensor for member in analysis.group(name).members if member.reads} & wanted.keys()
    here = {tensor: wanted[tensor] for tensor in touched}
    before, after = (_total(here, _moved(ranks, analysis, found), pattern) for found in ({}, {name: order.places}))
    return None if after > before else "what it gains in some weights, it loses in others"


def _matrix(group: Group, wanted: Mapping[str, Weight], ranks: Mapping[str, Tensor], pattern: NofM) -> Tensor | None:
    """What reads a group's units as neighbours, below each other: (rows, units); None where nothing does."""
    found = []
    for member in group.members:
        weight = wanted.get(member.tensor)
        if weight is None or not member.reads or member.dim != weight.planes.inputs:
            continue
        planes = weight.planes.of(ranks[member.tensor])
        found += [planes[..., at : at + group.width].flatten(0, 1) for at in _starts(member, group.width, pattern.m)]
    return torch.cat(found) if found else None


def _starts(member: Member, width: int, m: int) -> list[int]:
    """Where the units lie side by side in a member, beginning at the edge of a group of M."""
    sides = member.positions.T
    plain = [int(side[0]) for side in sides if torch.equal(side, torch.arange(width) + side[0])]
    return [start for start in plain if start % m == 0]


def _moved(ranks: Mapping[str, Tensor], analysis: Analysis, orders: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The saliencies of the network in that order."""
    moved = dict(ranks)
    for name, order in orders.items():
        for member in analysis.group(name).members:
            if member.tensor in moved:
                tensor = moved[member.tensor]
                taken = tensor.index_select(member.dim, member.positions[order].flatten())
                moved[member.tensor] = tensor.index_copy(member.dim, member.positions.flatten(), taken)
    return moved


def _total(wanted: Mapping[str, Weight], ranks: Mapping[str, Tensor], pattern: NofM) -> float:
    return sum(kept_of(weight.planes.of(ranks[name]).flatten(0, 1), pattern) for name, weight in wanted.items())


def _proved(
    model: nn.Module, analysis: Analysis, orders: Mapping[str, Tensor], example: Any
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(the orders under which the function stays, why the others are left out).

    Proved as cuts are: on a copy in double precision with random weights, so that no weight of zero hides a difference.
    """
    device = device_of(model)
    given = as_example(example).map(lambda tensor: tensor.to(device))
    traced = trace(model, given)
    shadow = Shadows(model, given, traced)(True)
    with quiet(), torch.no_grad(), steady_draws(traced):

        def unlike(chosen: Mapping[str, Tensor]) -> bool:
            found = call(reordered(shadow.network, analysis, chosen), shadow.example)
            return difference(found, shadow.outputs, shadow.tolerance) is not None

        if not unlike(orders):
            return dict(orders), {}
        proved: dict[str, Tensor] = {}
        refused = {}
        for name, order in orders.items():
            if unlike({**proved, name: order}):
                refused[name] = "the network computes something else in that order"
            else:
                proved[name] = order
    return proved, refused
