"""Masks that exist already: the zeros of any checkpoint, and the masks of `torch.nn.utils.prune`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.errors import InputError

__all__ = ["masks_of_prune", "plain_weights", "zero_masks"]

_ORIGINAL, _MASK = "_orig", "_mask"


def zero_masks(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks that the zeros of a checkpoint amount to.

    Args:
        weights: A state dict; of tensors of two dimensions or more only, since biases are not pruned.

    Returns:
        Name -> bool, of the tensor's shape: true where it is not zero. Tensors without a zero are left out.
    """
    masks = {name: tensor != 0 for name, tensor in weights.items() if tensor.ndim > 1 and tensor.is_floating_point()}
    return {name: mask for name, mask in masks.items() if not bool(mask.all())}


def plain_weights(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state dict that `torch.nn.utils.prune` made, as one of plain weights; and its masks.

    That module stores `weight_orig` and `weight_mask` in place of `weight`. Other state dicts come back as they are.

    Returns:
        The weights, masked; and name -> bool mask.

    Raises:
        InputError: If a mask belongs to no weight, or has another shape.
    """
    plain, masks = {}, {}
    for name, tensor in weights.items():
        base = name.removesuffix(_MASK)
        if base != name and f"{base}{_ORIGINAL}" in weights:
            continue
        base = name.removesuffix(_ORIGINAL)
        mask = weights.get(f"{base}{_MASK}") if base != name else None
        if mask is None:
            plain[name] = tensor
            continue
        if mask.shape != tensor.shape:
            raise InputError(f"{base}{_MASK} has the shape {list(mask.shape)}, its weight {list(tensor.shape)}")
        masks[base] = mask != 0
        plain[base] = tensor.masked_fill(mask == 0, 0)
    return plain, masks


def masks_of_prune(model: nn.Module) -> dict[str, Tensor]:
    """The masks with which `torch.nn.utils.prune` has pruned a model; the model stays as it is.

    Returns:
        Qualified name of the parameter -> bool mask; empty where it pruned nothing.
    """
    if not prune.is_pruned(model):
        return {}
    return plain_weights(model.state_dict())[1]
