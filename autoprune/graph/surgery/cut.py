"""The two ways to use a policy that leave a module behind: ``cut`` (smaller) and ``zero`` (dense, silenced).

``Selector`` (selector.py) is the third, for searches; all three slice by the same ``Slicer``.
"""

from __future__ import annotations

import torch
from torch import nn

from autoprune.errors import PolicyMismatchError
from autoprune.graph.analysis import Analysis
from autoprune.graph.fingerprint import fingerprint, first_difference
from autoprune.graph.surgery.branches import put_stubs, replacement
from autoprune.graph.surgery.multihead import fit, multihead
from autoprune.graph.surgery.slicer import Kept, Slicer, dense_shapes, put_attribute, take
from autoprune.models.copying import duplicate

__all__ = ["cut", "index_map", "require_same", "zero"]


def index_map(analysis: Analysis, kept: Kept) -> dict[str, list[tuple[int, torch.Tensor]]]:
    """Tensor name -> [(dim, kept positions)]: slices whatever has a parameter's shape, as optimiser state.

    Tensors that stay whole are left out, and those of dropped blocks, which the cut network does not have; shared
    ones are listed under the first of their names.

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
    widths = slicer.widths(checked)
    for swap in (swap for block in dropped for swap in block.swaps):
        memo[id(model.get_submodule(swap.module))] = replacement(model.get_submodule(swap.module), swap, widths)
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
