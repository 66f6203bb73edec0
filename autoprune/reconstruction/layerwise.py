"""SparseGPT on a whole network: one layer after the other, in one forward pass over calibration inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.foundations.user_code import UserCode, path_of
from autoprune.masks.assigned import Assigned, masks_of
from autoprune.masks.n_of_m import NofM
from autoprune.masks.planes import Planes
from autoprune.masks.unstructured import Unstructured
from autoprune.models.inputs.example import Example
from autoprune.models.layout import computing
from autoprune.models.modes import in_mode
from autoprune.models.precision import device_of
from autoprune.models.windows import Positions, WindowedLayer, drawn_positions, input_rows
from autoprune.reconstruction.attention import projections
from autoprune.reconstruction.sparsegpt import DAMPING, Chooser, better_rows, by_groups, by_share, fixed_mask, sparsegpt

__all__ = ["ROWS", "PrunedLayers", "prune_layers"]

ROWS = 8000
"""Input windows of a layer that are looked at, drawn once."""


@dataclass(frozen=True, eq=False)
class PrunedLayers:
    """What came of the layers.

    Attributes:
        masks: Name of a weight -> bool, of its shape.
        notes: Name of a weight -> what was done otherwise than meant, for people.
    """

    masks: Mapping[str, Tensor]
    notes: Mapping[str, str]


def prune_layers(model: nn.Module, call: Example, assigned: Mapping[str, Assigned]) -> PrunedLayers:
    """Prune the layers of a network in place, each as its input arrives from the layers pruned before it.

    N:M patterns and shares of one tensor choose their masks on the way, by the weights as the update has left them.
    Other patterns get a mask by |w| times the norm of its input (Wanda) first. So do layers whose second moments cannot
    be factorised, which then keep their values. A weight that is neither that of a linear layer or convolution nor a
    projection of `nn.MultiheadAttention` is masked by magnitude, and keeps its values.

    Args:
        model: Its weights are written into.
        call: The calibration inputs.
        assigned: Name of a weight -> its pattern.
    """
    work = _Layers(assigned)
    modules = {id(p): (name, m) for name, m in model.named_modules() for p in m.parameters(recurse=False)}
    parameters = dict(model.named_parameters())
    device = device_of(model)
    with in_mode(model), torch.no_grad(), computing(device, False), ExitStack() as hooks:
        for name in assigned:
            layer = modules[id(parameters[name])][1]
            if isinstance(layer, WindowedLayer) and layer.weight is parameters[name]:
                hook = layer.register_forward_pre_hook(lambda m, given, name=name: work.prune_layer(name, m, given[0]))
                hooks.callback(hook.remove)
        names = {id(parameters[name]): name for name in assigned}
        for layer in model.modules():
            if isinstance(layer, nn.MultiheadAttention) and type(layer).forward is nn.MultiheadAttention.forward:
                own = {leaf: names[id(p)] for leaf, p in layer.named_parameters() if id(p) in names}
                hooks.callback(layer.register_forward_pre_hook(work.of_attention(own), with_kwargs=True).remove)
        with UserCode(f"the network {path_of(model)}"):
            call.map(lambda tensor: tensor.to(device)).run(model)
        work.mask_the_others(parameters)
    return PrunedLayers({name: work.masks[name] for name in assigned}, work.notes)


class _Layers:
    """The layers that are done, and what is noted of them."""

    def __init__(self, assigned: Mapping[str, Assigned]) -> None:
        self._assigned = assigned
        self.masks: dict[str, Tensor] = {}
        self.notes: dict[str, str] = {}

    def prune_layer(self, name: str, layer: WindowedLayer, given: Tensor) -> None:
        """Prune a layer whose input arrives for the first time."""
        if not self._came_before(name):
            self._prune(name, layer.weight.detach(), _grams(input_rows(layer, given.detach(), _drawn())))

    def of_attention(self, names: Mapping[str, str]) -> Callable[[nn.Module, Any, Any], None]:
        """A hook that prunes the projections of attention whose input arrives for the first time.

        Args:
            names: Name of a weight within it -> name of the weight.
        """

        def hook(layer: nn.Module, args: Any, kwargs: Any) -> None:
            assert isinstance(layer, nn.MultiheadAttention)
            again = [name for name in names.values() if self._came_before(name)]
            if again or not names:
                return
            for leaf, inputs in projections(layer, args, kwargs):
                if leaf in names:
                    grams = [_grams(_some(given).unsqueeze(1)) for given in inputs]
                    self._prune(names[leaf], layer.get_parameter(leaf).detach(), torch.cat(grams))

        return hook

    def _came_before(self, name: str) -> bool:
        if name in self.masks:
            self.notes[name] = "it runs several times; its weights fit the inputs of the first run"
        return name in self.masks

    def _prune(self, name: str, weight: Tensor, grams: Tensor) -> None:
        """Prune a weight by the second moments of its inputs, (groups, in, in), of as many groups of outputs."""
        one = self._assigned[name]
        if one.why_not(tuple(weight.shape)) is not None:
            self.masks[name] = torch.ones_like(weight, dtype=torch.bool)
            return
        mask = torch.ones_like(weight, dtype=torch.bool)
        solved = weight.clone()
        by_norm = _by_norm(one, weight, grams)
        for group, (own, gram) in enumerate(zip(weight.chunk(len(grams)), grams, strict=True)):
            place = slice(group * len(own), (group + 1) * len(own))
            solved[place], mask[place] = self._solved(name, own, gram, by_norm[place], len(grams))
        self.masks[name] = mask
        weight.copy_(solved)

    def _solved(self, name: str, own: Tensor, gram: Tensor, by_norm: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        """Weights and mask of one group of a layer."""
        order = _input_order(own)
        flat, moments, masked = own.flatten(1)[:, order], gram[order][:, order], by_norm.flatten(1)[:, order]
        found = sparsegpt(flat, moments, self._blocks(name, own, masked, groups))
        if found is None:
            self.notes[name] = (
                "the second moments of its inputs cannot be factorised; masked as Wanda does, not updated"
            )
            return own * by_norm, by_norm
        if found.damping > DAMPING:
            self.notes[name] = f"the damping had to be raised to {found.damping:g}"
        counts_rows_together = isinstance(self._assigned[name].pattern, Unstructured)
        found = better_rows(flat, moments, found, masked, together=counts_rows_together)
        back = torch.argsort(order)
        return found.weight[:, back].reshape(own.shape), found.mask[:, back].reshape(own.shape)

    def _blocks(self, name: str, own: Tensor, by_norm: Tensor, groups: int) -> list[tuple[int, int, Chooser]]:
        pattern = self._assigned[name].pattern
        planes, _, inputs = Planes().shape(own.shape)
        if isinstance(pattern, NofM):
            return by_groups(pattern, inputs, planes)
        if isinstance(pattern, Unstructured) and not pattern.across and groups == 1:
            return by_share(pattern, *by_norm.shape)
        return fixed_mask(by_norm)

    def mask_the_others(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Mask what no layer has pruned by magnitude."""
        rest = {name: one for name, one in self._assigned.items() if name not in self.masks}
        for name, mask in masks_of(rest, {name: parameters[name].detach().abs() for name in rest}).items():
            parameters[name].masked_fill_(~mask, 0)
            self.masks[name] = mask
            self.notes[name] = (
                "neither a linear layer or convolution nor attention runs with it; masked by magnitude, not updated"
            )


def _drawn() -> Positions:
    return drawn_positions(ROWS, torch.Generator().manual_seed(0))


def _some(given: Tensor) -> Tensor:
    """Of an input, (..., in), as many positions as are looked at."""
    rows = given.reshape(-1, given.shape[-1])
    return rows[_drawn()(len(rows)).to(rows.device)]


def _grams(rows: Tensor) -> Tensor:
    """Second moments, (groups, in, in), of (rows, groups, in)."""
    return torch.einsum("rgi,rgj->gij", rows.float(), rows.float())


def _by_norm(one: Assigned, weight: Tensor, grams: Tensor) -> Tensor:
    """The mask by |w| times the norm of its input, of all groups of a layer together."""
    norms = grams.diagonal(dim1=1, dim2=2).sqrt().repeat_interleave(len(weight) // len(grams), dim=0)
    return one.mask(weight.abs() * norms.reshape(weight.shape))


def _input_order(own: Tensor) -> Tensor:
    """Columns (in, kernel) as (kernel, in), so that neighbouring inputs of one kernel position are neighbours."""
    count = own[0].numel()
    return torch.arange(count).reshape(own.shape[1], -1).T.flatten().to(own.device)
