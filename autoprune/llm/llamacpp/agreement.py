"""Does another runtime, such as llama.cpp, compute what PyTorch computes?"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autoprune.llm.llamacpp.session import LlamaCpp
from autoprune.models.modes import in_mode

__all__ = ["Agreement", "agreement", "greedy"]

_WITHIN_A_LETTER = "\ufffd"  # what tokenizers decode the first bytes of a letter to


@dataclass(frozen=True)
class Agreement:
    """How far a runtime is from PyTorch over several prompts.

    Attributes:
        largest: Largest difference of a log-probability (nats), of the tokens likeliest to PyTorch after each prompt.
        mean: The mean of those differences.
        common: Tokens of the greedy continuations up to the first that differs.
        continued: Tokens that were asked for.
        tied: Whether, wherever a continuation differs, PyTorch's two likeliest tokens there lie within `tolerance`.
        tolerance: Nats within which a difference counts as rounding.
        tokens: Texts that both cut into the same tokens, and all texts.
    """

    largest: float
    mean: float
    common: int
    continued: int
    tied: bool
    tolerance: float
    tokens: tuple[int, int]

    @property
    def holds(self) -> bool:
        """Whether they agree: log-probabilities within the tolerance, continuations up to ties, tokens all."""
        same = self.common == self.continued or self.tied
        return self.largest <= self.tolerance and same and self.tokens[0] == self.tokens[1]


def agreement(
    network: Any,
    tokenizer: Any,
    session: LlamaCpp,
    texts: Sequence[str],
    *,
    likeliest: int = 10,
    predict: int = 16,
    tolerance: float = 0.05,
) -> Agreement:
    """Compare a network with what llama.cpp makes of its file.

    Args:
        network: A causal language model of `transformers`.
        tokenizer: Its tokenizer.
        session: llama.cpp with the file loaded.
        texts: Prompts, and what both tokenizers are tried on.
        likeliest: How many log-probabilities after each prompt are compared.
        predict: Tokens of the greedy continuation.
        tolerance: Nats that count as rounding; of a quantised file far more than of f32.

    Raises:
        TargetError: If llama.cpp failed.
    """
    differences: list[float] = []
    common, tied, same = 0, True, 0
    for text in texts:
        prompt = tokenizer(text)["input_ids"]
        same += session.tokens(text) == tokenizer(text, add_special_tokens=False)["input_ids"]
        ids, rows = greedy(network, prompt, predict)
        # One token alone: of several, llama.cpp leaves out those that end within a letter. Falling order: some more,
        # since near ties change places. Nothing where the text ends, or a letter is begun.
        for place in session.greedy(prompt, 1, 4 * likeliest).likeliest:
            values, best = rows[0].topk(min(likeliest, rows.shape[1]))
            differences += [
                abs(v - place.get(t, -math.inf)) for v, t in zip(values.tolist(), best.tolist(), strict=True)
            ]
        shown = [n for n in range(len(ids)) if not tokenizer.decode(ids[: n + 1]).endswith(_WITHIN_A_LETTER)]
        same_up_to = _agreed(
            [ids[n] for n in shown], session.greedy(prompt, predict).ids, set(tokenizer.all_special_ids)
        )
        agreed = len(ids) if same_up_to == len(shown) else shown[same_up_to]
        common += agreed
        if agreed < len(ids):
            first, second = rows[agreed].topk(2).values.tolist()
            tied = tied and first - second <= tolerance
    largest = max(differences, default=math.inf)  # nothing compared is no agreement
    mean = sum(differences) / len(differences) if differences else math.inf
    return Agreement(largest, mean, common, predict * len(texts), tied, tolerance, (same, len(texts)))


def _agreed(ours: Sequence[int], theirs: Sequence[int], ends: Collection[int]) -> int:
    """Tokens up to the first that differs; all of them where llama.cpp ended and the next one of ours is an end."""
    for place, token in enumerate(ours):
        if place == len(theirs):
            return len(ours) if token in ends else place
        if token != theirs[place]:
            return place
    return len(ours)


def greedy(network: Any, prompt: Sequence[int], predict: int) -> tuple[list[int], torch.Tensor]:
    """PyTorch's continuation without a cache, and the log-probabilities (predict, vocabulary) at each of its places."""
    ids, rows = list(prompt), []
    device = next(network.parameters()).device
    with torch.no_grad(), in_mode(network):
        for _ in range(predict):
            logits = network(input_ids=torch.tensor([ids], device=device), use_cache=False).logits
            rows.append(logits[0, -1].float().log_softmax(-1).cpu())
            ids.append(int(rows[-1].argmax()))
    return ids[len(prompt) :], torch.stack(rows)
