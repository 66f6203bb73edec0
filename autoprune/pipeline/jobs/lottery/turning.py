"""A ticket in a form that hardware can use: as whole channels, or as N:M."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.masks.n_of_m import NofM, grouped
from autoprune.models import parameter_count
from autoprune.models.inputs.example import described
from autoprune.pipeline.jobs.lottery.levels import Start
from autoprune.pipeline.jobs.lottery.networks import Networks
from autoprune.pipeline.jobs.lottery.study import last_weights, ticket_file
from autoprune.run.directory import RunDir
from autoprune.run.settings.lottery import CHANNELS_FORM, n_of_m
from autoprune.space import Policy
from autoprune.techniques.apply import apply
from autoprune.techniques.sparsity.saliency import pattern_mask
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.techniques.sparsity.ticket import read_ticket
from autoprune.techniques.structured.refill import fullest, refilled

__all__ = ["Form", "masked", "trained_ticket", "turned"]

Masks = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Form:
    """A ticket in another form, not yet trained.

    Attributes:
        start: The network and its masks, from the weights of step k.
        params: Parameters that are left.
        about: What is said of it.
        policy: Of whole channels; None where only masks change.
    """

    start: Start
    params: int
    about: Mapping[str, Any]
    policy: Policy | None


def trained_ticket(networks: Networks, run: RunDir, seed: int, number: int) -> nn.Module:
    """What the training of a round's ticket has ended with, in evaluation mode."""
    network = networks.fresh(seed)
    network.load_state_dict(dict(read_ticket(last_weights(run, seed, "ticket", number)).start))
    return network.eval()


def turned(
    networks: Networks, run: RunDir, name: str, seed: int, number: int, *, widths: Mapping[str, int] | None = None
) -> Form:
    """The ticket of a round in another form.

    Args:
        networks: Of a study.
        run: Where its tickets lie.
        name: `channels`, or N:M.
        seed: Whose ticket.
        number: Of which round.
        widths: Of whole channels: decision -> units; by default as many as have no more parameters than the ticket.
    """
    ticket = read_ticket(ticket_file(run, seed))
    network = networks.fresh(seed)
    network.load_state_dict(dict(ticket.start))
    start = Start(network, ticket.masks(number), ticket.rewind)
    if name == CHANNELS_FORM or widths is not None:
        return _channels(networks, start, widths)
    trained = read_ticket(last_weights(run, seed, "ticket", number)).start
    return _n_of_m(networks, start, trained, NofM(*n_of_m(name)))


def _channels(networks: Networks, ticket: Start, widths: Mapping[str, int] | None) -> Form:
    """Units with the most weights left, as many as are wanted, or as have no more parameters than the ticket keeps."""
    network, task = ticket.network, networks.task
    masks = {name: mask.cpu() for name, mask in ticket.masks.items()}
    analysis, space = networks.proven
    if widths is None:
        left = parameter_count(network) - sum(int((~mask).sum()) for mask in masks.values())
        choices, kept = refilled(analysis, space, masks, left)
    else:
        choices, kept = dict(widths), fullest(analysis, space, masks, widths)
    policy = space.policy(choices, agent="lottery", seed=networks.experiment.seed)
    about = {"arguments": task.arguments, "example": described(task.example)}
    policy = policy.model_copy(update={"kept": kept, "model": {**policy.model, **about}})
    small = apply(network, policy, task.example)
    of_all = {name: [units, space[name].width] for name, units in choices.items()}
    return Form(Start(small, {}, ticket.step), parameter_count(small), {"widths": of_all}, policy)


def _n_of_m(networks: Networks, ticket: Start, trained: Masks, pattern: NofM) -> Form:
    """Of each group the weights that are left and largest after the ticket's training stay."""
    found, lost, whole, broken, groups = {}, 0.0, 0.0, 0, 0
    for name, weight in weights_of(networks.analysis).weights.items():
        if name not in ticket.masks:
            continue
        mask = ticket.masks[name].cpu()
        size = trained[name].abs().cpu().double() * mask
        allowed = pattern_mask(weight, size, pattern)
        found[name] = mask if allowed is None else mask & allowed
        lost, whole = lost + float(size[~found[name]].sum()), whole + float(size.sum())
        over, count = _over(weight.planes.of(mask), pattern)
        broken, groups = broken + over, groups + count
    about = {"magnitude_lost": lost / max(whole, 1e-30), "groups_over": broken / max(groups, 1)}
    kept = parameter_count(ticket.network) - sum(int((~mask).sum()) for mask in found.values())
    return Form(Start(ticket.network, found, ticket.step), kept, about, None)


def _over(mask: Tensor, pattern: NofM) -> tuple[int, int]:
    """Groups with more weights than a pattern keeps, and all groups, of a mask (positions, outputs, inputs)."""
    counts = grouped(mask.double(), pattern.m, 0.0).sum(3)
    return int((counts > pattern.n).sum()), counts.numel()


@torch.no_grad()
def masked(network: nn.Module, masks: Masks) -> nn.Module:
    """The network itself, its weights zeroed where masks say so."""
    for name, mask in masks.items():
        parameter = network.get_parameter(name)
        parameter.masked_fill_(~mask.to(parameter.device), 0)
    return network
