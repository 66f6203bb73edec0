"""The masks of a policy: what its file says of them, and what is made of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from autoprune.errors import InputError, PolicyMismatchError, first_line
from autoprune.foundations.files import shortened
from autoprune.masks.n_of_m import LARGEST_GROUP, NofM
from autoprune.masks.packing import packed, unpacked
from autoprune.space import TechniquePart
from autoprune.techniques.sparsity.tensors import Weight

__all__ = ["check_payload", "group_size", "mask_in", "masks_in", "payload_of"]


def payload_of(m: int, masks: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a policy's file says: the size of a group, and the masks as packed bits.

    Args:
        m: Weights of a group.
        masks: Name of a parameter -> bool mask of its shape in the pruned network.
    """
    return {"m": m, "masks": {name: packed(mask) for name, mask in masks.items()}}


def group_size(part: TechniquePart, default: int) -> int:
    """M of a part; the technique's own where the part does not say."""
    return int(part.payload.get("m", default))


def check_payload(part: TechniquePart, weights: Mapping[str, Weight], default: int) -> None:
    """Refuse a part that is damaged, or was made for another model.

    Raises:
        PolicyMismatchError: Naming what is wrong.
    """
    m, masks = part.payload.get("m", default), part.payload.get("masks", {})
    if type(m) is not int or not 2 <= m <= LARGEST_GROUP:
        raise PolicyMismatchError(f"the policy's groups are of {shortened(repr(m), 40)} weights, not of 2 or more")
    if not isinstance(masks, dict) or not all(isinstance(text, str) for text in masks.values()):
        raise PolicyMismatchError("the policy's masks are no packed bits")
    for name, kept in part.choices.items():
        if name not in weights:
            raise PolicyMismatchError(
                f"the policy was made for another model: it prunes {name}, which this one has not"
            )
        if kept > m:
            raise PolicyMismatchError(f"the policy keeps {kept} of every {m} weights of {name}")
    stray = next((name for name in masks if name not in part.choices), None)
    if stray is not None:
        raise PolicyMismatchError(f"the policy has a mask of {shortened(repr(stray))}, on which it decides nothing")


def mask_in(part: TechniquePart, weight: Weight, tensor: Tensor, pattern: NofM) -> Tensor | None:
    """The mask that a policy's file has of a weight; None if it has none.

    Args:
        part: The policy's part.
        weight: Which weight.
        tensor: As the network has it now: it may be narrower than the dense one.
        pattern: What the mask must keep.

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
    fault = pattern.fault(weight.planes.of(mask))
    if fault is not None:
        raise PolicyMismatchError(f"the policy's mask of {weight.name} is not {pattern.name}: {fault}")
    return mask


def masks_in(part: TechniquePart, name: str, tensor: Tensor) -> Tensor:
    """The mask of a weight that has been pruned: the policy's, else where the tensor is not zero."""
    text = part.payload.get("masks", {}).get(name)
    return tensor.detach() != 0 if text is None else unpacked(text, tensor.shape)
