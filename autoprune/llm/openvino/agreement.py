"""Does OpenVINO compute what PyTorch computes?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.llm.llamacpp.agreement import Agreement, greedy
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.openvino.folder import session_of
from autoprune.llm.openvino.session import OpenVinoSession

__all__ = ["agreement_in_openvino"]


def agreement_in_openvino(
    network: Any,
    tokenizer: Any,
    written: LanguageModel,
    texts: Sequence[str],
    *,
    likeliest: int = 10,
    predict: int = 8,
    tolerance: float = 0.05,
) -> Agreement:
    """Compare a network with what OpenVINO makes of its folder, at each place of PyTorch's greedy continuation.

    Args:
        network: A causal language model of `transformers`.
        tokenizer: Its tokenizer.
        written: What `load_openvino` gives of the folder. It reads a continuation token by token, as it would write
            one; its tokenizer is compared, too.
        texts: Prompts, and what both tokenizers are tried on.
        likeliest: How many log-probabilities at each place are compared.
        predict: Tokens of the continuation.
        tolerance: Nats that count as rounding.
    """
    differences: list[float] = []
    common, tied, same = 0, True, 0
    for text in texts:
        prompt = tokenizer(text)["input_ids"]
        same += written.tokenizer(text)["input_ids"] == prompt
        ids, rows = greedy(network, prompt, predict)
        found = _fed(session_of(written), prompt, ids)
        values, best = rows.topk(min(likeliest, rows.shape[1]))
        differences += (found.gather(1, best) - values).abs().flatten().tolist()
        other = (found.argmax(1) != torch.tensor(ids)).nonzero()
        agreed = int(other[0]) if len(other) else len(ids)
        common += agreed
        if agreed < len(ids):
            tied = tied and float(values[agreed, 0] - values[agreed, 1]) <= tolerance
    largest, mean = max(differences, default=math.inf), sum(differences) / max(1, len(differences))
    return Agreement(largest, mean, common, predict * len(texts), tied, tolerance, (same, len(texts)))


def _fed(session: OpenVinoSession, prompt: Sequence[int], ids: Sequence[int]) -> Tensor:
    """Log-probabilities (len(ids), vocabulary) behind a prompt and behind each of some tokens but the last."""
    session.forget()
    parts = [prompt, *([token] for token in ids[:-1])]
    logits = [torch.from_numpy(session.read(torch.tensor([part]))[0, -1].copy()) for part in parts]
    return torch.stack(logits).float().log_softmax(-1)
