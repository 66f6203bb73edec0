"""What a recovery minimises: the loss on text, and the divergence from the dense model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.errors import InputError
from autoprune.models.precision import device_of

__all__ = ["divergence", "loss_of", "text_loss"]


def text_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean negative log-likelihood of the tokens, from logits (batch, tokens, vocabulary) and ids (batch, tokens)."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())


def divergence(logits: Tensor, dense: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of a model's predictions from the dense one's, both (batch, tokens, vocabulary).

    Raises:
        InputError: If they predict other tokens.
    """
    if logits.shape != dense.shape:
        raise InputError(
            f"the dense model predicts {dense.shape[-1]} tokens, the pruned one {logits.shape[-1]}: it cannot be"
            " distilled; give --distillation 0"
        )
    own, goal = (each.flatten(0, 1).float().log_softmax(dim=-1) for each in (logits, dense))
    return functional.kl_div(own, goal, reduction="batchmean", log_target=True)


def loss_of(network: nn.Module, teacher: nn.Module | None, share: float) -> Callable[[Tensor], Tensor]:
    """Token ids (batch, tokens) to the loss.

    Args:
        network: What is trained.
        teacher: The dense model; None without distillation.
        share: Of the divergence in the loss.
    """

    def loss(ids: Tensor) -> Tensor:
        places = ids.to(device_of(network))
        logits = _logits(network, places)
        found = text_loss(logits, places) * (1 - share)
        if teacher is None or share == 0:
            return found
        with torch.no_grad():
            dense = _logits(teacher, places)
        return found + share * divergence(logits, dense)

    return loss


def _logits(network: Any, ids: Tensor) -> Tensor:
    logits: Tensor = network(input_ids=ids, use_cache=False).logits
    return logits
