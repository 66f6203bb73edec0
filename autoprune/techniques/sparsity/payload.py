"""The masks of a policy: what its file says of them, and what is made of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from autoprune.errors import InputError, PolicyMismatchError, first_line
from autoprune.foundations.files import shortened
from autoprune.masks.base import Pattern
from autoprune.masks.packing import unpacked
from autoprune.space import TechniquePart
from autoprune.techniques.sparsity.tensors import Weight

__all__ = ["check_masks", "mask_in", "masks_in"]


def check_masks(part: TechniquePart, weights: Mapping[str, Weight], width_of: Callable[[Weight], int]) -> None:
    """Refuse a part that is damaged, or was made for another model.

    Args:
        part: The policy's part.
        weights: The model's weights that can have zeros.
        width_of: The most that the decision on a weight keeps.

    Raises:
        PolicyMismatchError: Naming what is wrong.
    """
    masks = part.payload.get("masks", {})
    if not isinstance(masks, dict) or not all(isinstance(text, str) for text in masks.values()):
        raise PolicyMismatchError("the policy's masks are no packed bits")
    for name, kept in part.choices.items():
        if name not in weights:
            raise PolicyMismatchError(
                f"the policy was made for another model: it prunes {shortened(name)}, which this one does not have"
            )
        if kept > (width := width_of(weights[name])):
            raise PolicyMismatchError(f"the policy keeps {kept} of every {width} weights of {shortened(name)}")
    stray = next((name for name in masks if name not in part.choices), None)
    if stray is not None:
        raise PolicyMismatchError(f"the policy has a mask of {shortened(repr(stray))}, on which it decides nothing")


def mask_in(part: TechniquePart, weight: Weight, tensor: Tensor, pattern: Pattern | None) -> Tensor | None:
    """The mask that a policy's file has of a weight; None if it has none.

    Args:
        part: The policy's part.
        weight: Which weight.
        tensor: As the network has it now: it may be narrower than the dense one.
        pattern: What the mask must keep; None for anything.

    Raises:
        PolicyMismatchError: If the mask is of another shape, damaged, or breaks the pattern.
    """
    text = part.payload.get("masks", {}).get(weight.name)
    if text is None:
        return None
    try:
        mask = unpacked(text, tensor.shape)
    except InputError as error:
        raise PolicyMismatchError(f"the policy's mask of {weight.name} does not fit: {first_line(error)}") from error
    fault = None if pattern is None else pattern.fault(weight.planes.of(mask))
    if pattern is not None and fault is not None:
        raise PolicyMismatchError(f"the policy's mask of {weight.name} is not {pattern.name}: {fault}")
    return mask


def masks_in(part: TechniquePart, name: str, tensor: Tensor) -> Tensor:
    """The mask of a weight that has been pruned: the policy's, else where the tensor is not zero."""
    text = part.payload.get("masks", {}).get(name)
    return tensor.detach() != 0 if text is None else unpacked(text, tensor.shape)
