"""What ``cut``, ``zero`` and ``Selector`` share: which positions of which tensors a policy keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from autoprune.errors import InputError
from autoprune.graph.analysis import Analysis, Index
from autoprune.graph.block import Block

__all__ = ["Kept", "Slicer", "dense_shapes", "get_attribute", "put_attribute", "take"]

Kept = Mapping[str, Sequence[int]]


class Slicer:
    """Which positions of which tensors remain, for any policy of one analysis."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._width = {group.name: group.width for group in analysis.groups}
        self._blocks = {block.name: block for block in analysis.blocks}
        # tensor -> dim -> the groups that share it, each with its positions (units, m)
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
            InputError: An unknown group; too few indices, a repeated one, or one that is out of range.
        """
        checked: dict[str, Index] = {}
        for name, indices in kept.items():
            least, width = self._bounds(name)
            index = np.array(indices, dtype=np.int64).reshape(-1)
            index.sort()
            if len(index) < least:
                raise InputError(f"{name}: at least {least} of its {width} units must be kept, not {len(index)}")
            if not len(index):
                checked[name] = index
                continue
            if index[0] < 0 or index[-1] >= width:
                raise InputError(f"{name}: kept indices must lie in 0..{width - 1}, got {index[0]}..{index[-1]}")
            if (index[1:] == index[:-1]).any():
                raise InputError(f"{name}: an index is kept twice")
            if len(index) < width:
                checked[name] = index
        return checked

    def _bounds(self, name: str) -> tuple[int, int]:
        if name in self._blocks:
            return 0, 1
        group = self.analysis.group(name)
        return group.least, group.width

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


def dense_shapes(analysis: Analysis) -> dict[str, list[int]]:
    """Qualified name of every parameter and buffer -> its dense shape."""
    layers = analysis.fingerprint["layers"]
    return {f"{layer}.{key}".lstrip("."): size for layer, _, own in layers for key, size in own.items()}


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
