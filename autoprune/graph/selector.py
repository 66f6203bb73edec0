"""``Selector``: sub-networks of one dense network, a candidate a millisecond, for searches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from autoprune.graph.surgery import Index, Slicer, require_same, take
from autoprune.graph.trace import canonical_names
from autoprune.graph.values import Analysis

__all__ = ["Selector"]

Indices = dict[tuple[int, torch.device], tuple[Index, torch.Tensor]]


class Selector:
    """A shell that is dressed as one small network after the other.

    The dense weights are copied once, when it is built: later changes of the model are not seen, and nothing
    done to a selected network (BatchNorm re-estimation, training) reaches the dense one or the next.

    Args:
        model: The dense model; not changed.
        analysis: What ``analyse`` returned for it.

    Raises:
        PolicyMismatchError: The analysis was made for another model.
    """

    def __init__(self, model: nn.Module, analysis: Analysis) -> None:
        require_same(model, analysis)
        self._slicer = Slicer(analysis)
        self._shell = copy.deepcopy(model)
        self._modes = [(module, module.training) for module in self._shell.modules()]
        self._modules = dict(self._shell.named_modules())
        owners: dict[str, list[tuple[nn.Module, str]]] = {}
        for alias, name in canonical_names(self._shell).items():
            module, _, leaf = alias.rpartition(".")
            owners.setdefault(name, []).append((self._modules[module], leaf))
        self._parameters = [
            (name, tensor.detach(), tensor.requires_grad, owners[name])
            for name, tensor in self._shell.named_parameters()
        ]
        self._buffers = [
            (name, tensor.detach(), owners[name]) for name, tensor in self._shell.named_buffers()
        ]

    def select(self, kept: Mapping[str, Sequence[int]]) -> nn.Module:
        """The network that ``cut`` would build, bit for bit; valid until the next ``select``.

        Args:
            kept: Group name -> indices of the units that stay, in any order; groups left out stay whole.

        Raises:
            InputError: ``kept`` does not fit the analysis.
        """
        checked = self._slicer.kept(kept)
        indices: Indices = {}
        for name, tensor, needs_grad, owners in self._parameters:
            parameter = nn.Parameter(self._slice(name, tensor, checked, indices), needs_grad)
            for module, leaf in owners:
                module._parameters[leaf] = parameter
        for name, tensor, owners in self._buffers:
            buffer = self._slice(name, tensor, checked, indices)
            for module, leaf in owners:
                module._buffers[leaf] = buffer
        for path, attribute, value in self._slicer.attributes(checked):
            self._modules[path].__dict__[attribute] = value
        for module, training in self._modes:
            module.training = training
        return self._shell

    def _slice(
        self,
        name: str,
        tensor: torch.Tensor,
        kept: Mapping[str, Index],
        known: Indices,
    ) -> torch.Tensor:
        """The remaining positions of one tensor; index tensors are made once a candidate."""
        found = []
        for dim, index in self._slicer.indices(name, tensor.shape, kept):
            key = (id(index), tensor.device)
            if key not in known:  # the array is kept beside, or its id would go to another
                known[key] = (index, torch.from_numpy(index).to(tensor.device))
            found.append((dim, known[key][1]))
        return take(tensor, found)
