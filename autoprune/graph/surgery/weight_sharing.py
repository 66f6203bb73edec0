"""``Selector``: sub-networks of one dense network, a candidate a millisecond, for searches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoprune.graph.analysis import Analysis, Extent, Index
from autoprune.graph.surgery.branches import Stage
from autoprune.graph.surgery.cut import require_same
from autoprune.graph.surgery.multihead import fit, multihead
from autoprune.graph.surgery.slicer import Slicer, put_attribute, take
from autoprune.graph.trace.export import canonical_names
from autoprune.models.copying import forget, isolated, keepers

__all__ = ["Selector"]

_Place = tuple[str, torch.device]  # a group's index tensor on one device


@dataclass(frozen=True, eq=False)
class _Tensor:
    """A dense parameter or buffer and the places in the shell that hold it."""

    name: str
    dense: torch.Tensor
    is_parameter: bool
    needs_grad: bool
    owners: tuple[tuple[Any, str | int], ...]

    def put(self, value: torch.Tensor) -> None:
        """Hand a fresh tensor to every owner."""
        held = nn.Parameter(value, self.needs_grad) if self.is_parameter else value
        for holder, place in self.owners:
            holder[place] = held


class Selector:
    """A shell that is dressed as one small network after the other.

    The dense weights are copied once, when it is built: later changes of the model are not seen, and nothing
    done to a selected network (BatchNorm re-estimation, training) reaches the dense one or the next.

    Args:
        model: The dense model; not changed.
        analysis: What ``analyse`` returned for it.
        read_only: Names of parameters that nobody writes to as long as the selector is used: these are not copied,
            and a selected network holds the model's own where they stay whole.

    Raises:
        PolicyMismatchError: The analysis was made for another model.
    """

    def __init__(self, model: nn.Module, analysis: Analysis, read_only: Collection[str] = ()) -> None:
        require_same(model, analysis)
        self._slicer = Slicer(analysis)
        self._read_only = frozenset(read_only)
        own = dict(model.named_parameters())
        self._shell = isolated(model, {id(own[name]): own[name] for name in self._read_only})
        self._keepers = keepers(self._shell)
        self._multihead = multihead(self._shell.modules())
        self._stage = Stage(self._shell, analysis.blocks, self._slicer.widths({}))
        everything = (*self._shell.modules(), *self._stage.substitutes)
        self._modes = [(module, module.training) for module in everything]
        self._bundles: dict[tuple[str, torch.dtype, torch.device], list[_Tensor]] = {}
        self._singles: list[tuple[_Tensor, list[tuple[int, str]] | None]] = []
        for tensor in _tensors(self._shell):
            plain = self._slicer.plain(tensor.name)
            group = plain[0][1] if plain and tensor.dense.dim() == 1 else None
            if group is None:
                self._singles.append((tensor, plain))
            else:
                self._bundles.setdefault((group, tensor.dense.dtype, tensor.dense.device), []).append(tensor)
        self._stacks = {key: torch.stack([t.dense for t in found]) for key, found in self._bundles.items()}
        self._devices = {tensor.device for tensor in (*self._shell.parameters(), *self._shell.buffers())}
        modules = dict(self._shell.named_modules())
        self._attributes: dict[Extent, list[tuple[dict[str, object], str]]] = {}
        for path, attribute, extent in analysis.attributes:
            self._attributes.setdefault(extent, []).append((modules[path].__dict__, attribute))

    def select(self, kept: Mapping[str, Sequence[int]]) -> nn.Module:
        """The network that ``cut`` would build, bit for bit; valid until the next ``select``.

        Args:
            kept: Group name -> indices of the units that stay, in any order; groups left out stay whole. Block name
                -> no index where it is dropped.

        Raises:
            InputError: ``kept`` does not fit the analysis.
        """
        checked = self._slicer.kept(kept)
        self._stage.restore()
        on_cpu = {name: torch.from_numpy(index) for name, index in checked.items()}
        places = {(name, device): at.to(device) for name, at in on_cpu.items() for device in self._devices}
        self._dress_bundles(places)
        self._dress_singles(checked, places)
        widths = self._slicer.widths(checked)
        for extent, holders in self._attributes.items():
            size = extent(widths)
            for attributes, name in holders:
                put_attribute(attributes, name, size)
        self._stage.drop(self._slicer.dropped(checked), widths)
        fit(self._multihead)
        forget(self._keepers)
        for module, training in self._modes:
            if module.training is not training:
                module.training = training
        return self._shell

    def _dress_bundles(self, places: Mapping[_Place, torch.Tensor]) -> None:
        """Vectors of one group (BatchNorm's four, biases) are sliced in one go; ``data`` parts their versions."""
        for key, tensors in self._bundles.items():
            stack, index = self._stacks[key], places.get((key[0], key[2]))
            small = stack.clone() if index is None else stack.index_select(1, index)
            for tensor, row in zip(tensors, small.unbind(0), strict=True):
                tensor.put(row.data)

    def _dress_singles(self, kept: Mapping[str, Index], places: Mapping[_Place, torch.Tensor]) -> None:
        """All other tensors one by one; where each dimension is one group's, its index tensor is at hand."""
        for tensor, plain in self._singles:
            device = tensor.dense.device
            if plain is None:
                found = [
                    (dim, torch.from_numpy(index).to(device))
                    for dim, index in self._slicer.indices(tensor.name, tensor.dense.shape, kept)
                ]
            else:
                found = [(dim, places[group, device]) for dim, group in plain if group in kept]
            whole = not found and tensor.name in self._read_only
            tensor.put(tensor.dense if whole else take(tensor.dense, found))


def _tensors(shell: nn.Module) -> list[_Tensor]:
    """Every distinct parameter and buffer of the shell."""
    modules = dict(shell.named_modules(remove_duplicate=False))
    owners: dict[str, list[tuple[Any, str | int]]] = {}
    parameters = dict(shell.named_parameters())
    for alias, name in canonical_names(shell).items():
        module, _, leaf = alias.rpartition(".")
        registry = modules[module]._parameters if name in parameters else modules[module]._buffers
        owners.setdefault(name, []).append((registry, leaf))
        listed = getattr(modules[module], "_flat_weights_names", ())  # recurrent layers hold theirs in a list, too
        if leaf in listed:
            owners[name].append((modules[module]._flat_weights, listed.index(leaf)))
    return [
        _Tensor(name, tensor.detach(), name in parameters, tensor.requires_grad, tuple(owners[name]))
        for name, tensor in (*parameters.items(), *shell.named_buffers())
    ]
