"""How far rounding alone moves a network, and so how far a runtime that computes in a coarser type may be from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autoprune.models.modes import in_mode

__all__ = ["moved_by_f16", "rounded_to_f16", "tolerance_for"]

_LEAST = {"f32": 0.01, "f16": 0.05}  # nats; a quantised model is another one, whose difference is only shown
_DRAWS = 2.0  # both round, and not alike: their difference may be larger than the one that was tried


def tolerance_for(number_format: str, network: Any, tokenizer: Any, texts: Sequence[str]) -> float:
    """Nats by which a runtime may be off a network without a fault, where it reads a file of this format.

    A pruned network that was not trained may answer f16's rounding with more than 0.05 nats. How much is
    tried in PyTorch; what would be an overflow of f16 excuses nothing.

    Args:
        number_format: Of the file's matrices; of quantised formats any difference is allowed.
        network: A causal language model of `transformers`.
        tokenizer: Its tokenizer.
        texts: Prompts that it is compared on.
    """
    least = _LEAST.get(number_format.lower(), math.inf)
    if number_format.lower() != "f16":
        return least
    moved = moved_by_f16(network, tokenizer, texts)
    return max(least, _DRAWS * moved) if math.isfinite(moved) else least


def moved_by_f16(network: Any, tokenizer: Any, texts: Sequence[str], likeliest: int = 10) -> float:
    """Largest change (nats) of the likeliest tokens' log-probabilities behind some prompts, by rounding to f16."""
    with in_mode(network):
        exact = _behind(network, tokenizer, texts)
        with rounded_to_f16(network):
            rounded = _behind(network, tokenizer, texts)
    best = exact.topk(min(likeliest, exact.shape[1])).indices
    return float((rounded - exact).gather(1, best).abs().max())


@contextmanager
def rounded_to_f16(network: nn.Module) -> Iterator[None]:
    """Embeddings, matrices and what these are multiplied with are rounded to f16, as llama.cpp computes f16 files.

    The sums stay as fine as the network's type. No weight is changed.
    """
    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, nn.Linear):
                stack.enter_context(module.register_forward_hook(_multiplied))
            elif isinstance(module, nn.Embedding):
                stack.enter_context(module.register_forward_hook(_looked_up))
        yield


def _multiplied(layer: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return linear(_f16(given[0]), _f16(layer.weight), layer.bias)


def _looked_up(_: nn.Module, __: tuple[Tensor, ...], found: Tensor) -> Tensor:
    return _f16(found)


def _f16(values: Tensor) -> Tensor:
    return values.to(torch.float16).to(values.dtype)


def _behind(network: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Log-probabilities of the token behind each prompt, (prompts, vocabulary)."""
    device = next(network.parameters()).device
    rows = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"]], device=device)
            rows.append(network(input_ids=ids, use_cache=False).logits[0, -1].float().log_softmax(-1).cpu())
    return torch.stack(rows)
