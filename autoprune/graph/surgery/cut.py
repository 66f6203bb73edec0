"""The two ways to use a policy that leave a module behind: ``cut`` (smaller) and ``zero`` (dense, silenced).

``Selector`` (selector.py) is the third, for searches; all three slice by the same ``Slicer``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph.analysis import Analysis, Index
from autoprune.graph.block import Block
from autoprune.graph.fingerprint import fingerprint, first_difference
from autoprune.graph.surgery.branches import put_stubs, replacement
from autoprune.graph.surgery.multihead import fit, multihead
from autoprune.graph.trace.copying import duplicate

__all__ = ["Slicer", "cut", "index_map", "zero"]

Kept = Mapping[str, Sequence[int]]


class Slicer:
    """Which positions of which tensors remain, for any policy of one analysis."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._width = {group.name: group.width for group in analysis.groups}
        self._blocks = {block.name: block for block in analysis.blocks}
        # tensor -> dim -> the groups that stand in it, each with its positions (units, m)
        self.tensors: dict[str, dict[int, list[tuple[str, Index]]]] = defaultdict(lambda: defaultdict(list))
        self._plain: set[tuple[str, int]] = set()
        self._readers: dict[str, list[tuple[str, int, Index]]] = defaultdict(list)
        sizes = dense_shapes(analysis)
        for group in analysis.groups:
            for member in group.members:
                positions = member.positions.numpy()
                self.tensors[member.tensor][member.dim].append((group.name, positions))
                size = sizes[member.tensor][member.dim]
                if positions.shape == (size, 1) and (positions[:, 0] == np.arange(size)).all():
                    self._plain.add((member.tensor, member.dim))
                if member in group.silencers:
                    self._readers[group.name].append((member.tensor, member.dim, positions))

    def kept(self, kept: Kept) -> dict[str, Index]:
        """Check a policy's indices and sort them; groups that stay whole are left out, dropped blocks keep none.

        Raises:
            InputError: An unknown group; no index, a repeated one, or one that is out of range.
        """
        checked: dict[str, Index] = {}
        for name, indices in kept.items():
            width = 1 if name in self._blocks else self.analysis.group(name).width
            index = np.array(indices, dtype=np.int64).reshape(-1)
            index.sort()
            if not len(index) and name in self._blocks:
                checked[name] = index
                continue
            if not len(index):
                raise InputError(f"{name}: at least one of its {width} units must be kept")
            if index[0] < 0 or index[-1] >= width:
                raise InputError(f"{name}: kept indices must lie in 0..{width - 1}, got {index[0]}..{index[-1]}")
            if (index[1:] == index[:-1]).any():
                raise InputError(f"{name}: an index is kept twice")
            if len(index) < width:
                checked[name] = index
        return checked

    def plain(self, name: str) -> list[tuple[int, str]] | None:
        """[(dim, group)] of a tensor whose shrinking dimensions each are one group's, unit by unit; else None."""
        parts = self.tensors.get(name, {})
        if not all((name, dim) in self._plain for dim in parts):
            return None
        return [(dim, found[0][0]) for dim, found in parts.items()]

    def widths(self, kept: Mapping[str, Index]) -> dict[str, int]:
        """Kept units of every group."""
        return {name: len(kept[name]) if name in kept else width for name, width in self._width.items()}

    def indices(self, name: str, shape: Sequence[int], kept: Mapping[str, Index]) -> list[tuple[int, Index]]:
        """The dimensions of one tensor that shrink, with the positions that remain, ascending."""
        found = []
        for dim, parts in self.tensors.get(name, {}).items():
            if not any(group in kept for group, _ in parts):
                continue
            if (name, dim) in self._plain:
                found.append((dim, kept[parts[0][0]]))
                continue
            mask = np.ones(shape[dim], np.bool_)
            for group, positions in parts:
                if group in kept:
                    mask[positions] = False
                    mask[positions[kept[group]]] = True
            found.append((dim, np.flatnonzero(mask)))
        return found

    def dropped(self, kept: Mapping[str, Index]) -> list[Block]:
        """The blocks of which nothing is kept."""
        return [self._blocks[name] for name in kept if name in self._blocks]

    def silenced(self, kept: Mapping[str, Index]) -> list[tuple[str, int, Index]]:
        """(tensor, dim, positions) of the columns that read dropped units, and of what silences dropped blocks."""
        sizes = dense_shapes(self.analysis)
        silencers = [name for block in self.dropped(kept) for name in block.silencers]
        found = [(name, 0, np.arange(sizes[name][0] if sizes[name] else 1)) for name in silencers]
        for group, index in kept.items():
            if group in self._blocks:
                continue
            dropped = np.delete(np.arange(self._width[group]), index)
            found += [(name, dim, at[dropped].reshape(-1)) for name, dim, at in self._readers[group]]
        return found

    def attributes(self, kept: Mapping[str, Index]) -> list[tuple[str, str, int]]:
        """(module, attribute, value) for all module attributes that follow the widths."""
        widths = self.widths(kept)
        return [(module, name, extent(widths)) for module, name, extent in self.analysis.attributes]


def take(tensor: torch.Tensor, indices: Sequence[tuple[int, torch.Tensor]]) -> torch.Tensor:
    """A fresh tensor of the positions that remain, exact copies, in the memory format of ``tensor``."""
    if not indices:
        return tensor.clone()
    taken = tensor
    for dim, index in indices:
        taken = taken.index_select(dim, index)
    if tensor.is_contiguous() or tensor.dim() != 4:
        return taken
    last = tensor.is_contiguous(memory_format=torch.channels_last)
    return taken.contiguous(memory_format=torch.channels_last) if last else taken


def get_attribute(holder: Mapping[str, object], path: str) -> object:
    """A module's attribute; "normalized_shape.0" is an entry of a tuple, "config.width" one of an object."""
    name, _, rest = path.partition(".")
    value = holder.get(name)
    if rest and isinstance(value, list | tuple):
        return value[int(rest)]
    return get_attribute(vars(value), rest) if rest and hasattr(value, "__dict__") else value


def put_attribute(holder: dict[str, object], path: str, size: int) -> None:
    """Set what ``get_attribute`` reads."""
    if "." not in path:  # the common case, a hundred times a candidate
        holder[path] = size
        return
    name, _, rest = path.partition(".")
    value = holder.get(name)
    if isinstance(value, list | tuple):
        holder[name] = type(value)(size if i == int(rest) else entry for i, entry in enumerate(value))
    else:
        put_attribute(vars(value), rest, size)


def index_map(analysis: Analysis, kept: Kept) -> dict[str, list[tuple[int, torch.Tensor]]]:
    """Tensor name -> [(dim, kept positions)]: slices whatever has a parameter's shape, as optimiser state.

    Tensors that stay whole are left out, and those of dropped blocks, which the cut network does not have; shared
    ones stand under the first of their names.

    Raises:
        InputError: ``kept`` does not fit the analysis.
    """
    slicer = Slicer(analysis)
    checked = slicer.kept(kept)
    sizes = dense_shapes(analysis)
    gone = {name for block in slicer.dropped(checked) for name in block.tensors}
    found = {name: slicer.indices(name, sizes[name], checked) for name in slicer.tensors if name not in gone}
    return {
        name: [(dim, torch.from_numpy(index.copy())) for dim, index in indices]
        for name, indices in found.items()
        if indices
    }


def dense_shapes(analysis: Analysis) -> dict[str, list[int]]:
    """Qualified name of every parameter and buffer -> its dense shape."""
    layers = analysis.fingerprint["layers"]
    return {f"{layer}.{key}".lstrip("."): size for layer, _, own in layers for key, size in own.items()}


def require_same(model: nn.Module, analysis: Analysis) -> None:
    """Refuse a model that the analysis was not made for.

    Raises:
        PolicyMismatchError: Naming the first layer that differs.
    """
    difference = first_difference(fingerprint(model), analysis.fingerprint)
    if difference is not None:
        raise PolicyMismatchError(f"the analysis was made for another model: {difference}")


def cut(model: nn.Module, analysis: Analysis, kept: Kept) -> nn.Module:
    """A smaller deep copy of the model: dropped units are really gone.

    Keeps dtype, device, ``requires_grad``, train or evaluation mode, hooks and tied tensors; gradients are not
    copied. Every kept value is an exact copy.

    Args:
        model: The dense model; not changed.
        analysis: What ``analyse`` returned for it.
        kept: Group name -> indices of the units that stay, in any order; groups left out stay whole. Block name ->
            no index where it is dropped ([0] where it stays).

    Raises:
        InputError: ``kept`` does not fit the analysis.
        PolicyMismatchError: The analysis was made for another model.
    """
    require_same(model, analysis)
    slicer = Slicer(analysis)
    checked = slicer.kept(kept)
    dropped = slicer.dropped(checked)
    # What the memo already holds is not copied, so each tensor is copied once, at its small size.
    memo: dict[int, torch.Tensor | nn.Module] = {}
    for swap in (swap for block in dropped for swap in block.swaps):
        memo[id(model.get_submodule(swap.module))] = replacement(model.get_submodule(swap.module), swap)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        indices = slicer.indices(name, tensor.shape, checked)
        if indices:
            on_device = [(dim, torch.from_numpy(index).to(tensor.device)) for dim, index in indices]
            small = take(tensor.detach(), on_device)
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(small, tensor.requires_grad) if is_parameter else small
    smaller = duplicate(model, memo)
    put_stubs(smaller, dropped)
    modules = dict(smaller.named_modules())
    for module, attribute, value in slicer.attributes(checked):
        if module not in modules or any(module == swap.module for block in dropped for swap in block.swaps):
            continue
        put_attribute(modules[module].__dict__, attribute, value)
    fit(multihead(smaller.modules()))
    return smaller


def zero(model: nn.Module, analysis: Analysis, kept: Kept) -> nn.Module:
    """A deep copy of dense shape in which dropped units are silent: what ``cut`` must equal.

    A unit is silenced by zeroing the weights that read it, a dropped block by zeroing those that end it; nothing else
    changes. Zeroing what makes a unit would be wrong wherever a function in between does not map 0 to 0 (sigmoid, a
    BatchNorm's bias). Norms over a pruned width still see its dropped units (``Group.oracle``): there ``cut`` is
    another network.

    Raises:
        InputError: ``kept`` does not fit the analysis.
        PolicyMismatchError: The analysis was made for another model.
    """
    require_same(model, analysis)
    slicer = Slicer(analysis)
    checked = slicer.kept(kept)
    silent = duplicate(model)
    tensors = {**dict(silent.named_parameters()), **dict(silent.named_buffers())}
    with torch.no_grad():
        for name, dim, positions in slicer.silenced(checked):
            tensor = tensors[name]
            tensor.index_fill_(dim, torch.from_numpy(positions).to(tensor.device), 0)
    return silent
