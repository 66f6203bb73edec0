"""A user's own loss, called behind the boundary around their code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autoprune.foundations.user_code import UserCode, path_of, wrong_form

__all__ = ["own_loss"]


def own_loss(loss: Callable[[Any, Any], Tensor], output: Any, batch: Any) -> Tensor:
    """What a user's own loss says of a batch.

    Args:
        loss: Their function.
        output: The model's output.
        batch: The whole batch, on the model's device.

    Returns:
        A scalar, which may be infinite or NaN: that is the training's affair.

    Raises:
        InputError: If it raises, or returns anything but a tensor of one number with a gradient.
    """
    what = f"the loss {path_of(loss)}"
    with UserCode(what):
        value: Any = loss(output, batch)
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise wrong_form(what, value, "a tensor of one number, the mean over the batch")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise wrong_form(what, value, "a tensor with a gradient, computed from the output without detach()")
    return value.reshape(())
