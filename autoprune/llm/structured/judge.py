"""How well a network predicts the calibration text: what decides between ways to cut."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.llm.evaluation.perplexity import summed_loss
from autoprune.models.modes import in_mode

__all__ = ["loss_of", "mean_loss"]

_BATCH = 4  # windows at once


def mean_loss(network: nn.Module, windows: Tensor) -> float:
    """Mean negative log-likelihood of a token (nats); infinite where the network gives no numbers.

    Args:
        network: A causal language model.
        windows: Token ids, int64 (windows, tokens).

    Raises:
        InputError: If the windows hold nothing to predict.
    """
    if windows.shape[1] < 2 or not len(windows):
        raise InputError("the calibration windows hold nothing to predict; give windows of 2 tokens and more")
    model: Any = network
    with torch.no_grad(), in_mode(network):
        return loss_of(
            (ids, model(input_ids=ids.to(model.device), use_cache=False).logits) for ids in torch.split(windows, _BATCH)
        )


def loss_of(predictions: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Mean negative log-likelihood of a token (nats); infinite where the logits are no numbers.

    Args:
        predictions: Token ids (batch, tokens) with logits (batch, tokens, vocabulary).
    """
    total, count = 0.0, 0
    for ids, logits in predictions:
        loss, tokens = summed_loss(logits, ids, ids.shape[1])
        total, count = total + loss, count + tokens
    return total / count if math.isfinite(total) else math.inf
