"""Perplexity: how many tokens a model hesitates between, on the average, when it predicts the next one of a text.

The figure depends on the tokenizer, on how much of the text the model sees before each token, and on the text, so all
of these come with it (`TextScore`). Windows of `context` tokens move over the text by `stride`; in each the tokens
that no window before it predicted are scored: with a stride as long as the context every token once, and the first of
each window, which has nothing before it, not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.errors import InputError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.texts import Text
from autoprune.llm.windows import first_token
from autoprune.models.precision import device_of

__all__ = [
    "CONTEXT",
    "Logits",
    "Reading",
    "TextScore",
    "batches_of",
    "perplexity",
    "score_of",
    "summed_loss",
    "windows_of",
]

CONTEXT = 512
"""Tokens that the model sees at once, if nothing else is said."""

_BATCH = 4  # windows at once
_ROWS = 1024  # positions whose logits are made double precision at once

Logits = Callable[[Tensor], Tensor]
"""Token ids (batch, tokens) to logits (batch, tokens, vocabulary)."""


@dataclass(frozen=True)
class Reading:
    """How a text is read.

    Attributes:
        context: Tokens of a window.
        stride: Tokens from one window to the next; the context if None.
        most: Tokens of the text that are read; all if None.

    Raises:
        InputError: If a window could not predict anything.
    """

    context: int = CONTEXT
    stride: int | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.context < 2:
            raise InputError(f"a context of {self.context} tokens predicts nothing; give 2 or more")
        if not 1 <= self.step <= self.context:
            raise InputError(
                f"a stride of {self.step} tokens leaves some unread or does not move; give 1 to the context"
            )

    @property
    def step(self) -> int:
        """Tokens from one window to the next."""
        return self.context if self.stride is None else self.stride


@dataclass(frozen=True)
class TextScore:
    """How well a model predicts a text.

    Attributes:
        name: The text.
        perplexity: exp of the mean negative log-likelihood of a token.
        tokens: How many tokens were predicted.
        context: Tokens that the model saw at once.
        stride: Tokens from one window to the next.
    """

    name: str
    perplexity: float
    tokens: int
    context: int
    stride: int


@torch.no_grad()
def perplexity(
    model: LanguageModel,
    text: Text,
    reading: Reading | None = None,
    progress: Progress = no_progress,
    logits: Logits | None = None,
) -> TextScore:
    """Score a model on a text.

    Args:
        model: In evaluation mode.
        text: What it reads; each window begins with the token that the tokenizer puts in front of texts, if any.
        reading: Context, stride, and how much of the text.
        progress: Receives windows done.
        logits: What predicts, if not the network as it is.

    Raises:
        InputError: If the text is too short for one window, or the predictions are not finite.
    """
    how = Reading() if reading is None else reading
    windows = windows_of(model, text, how)
    predict = _logits_of(model.network) if logits is None else logits
    total, count = 0.0, 0
    for done, (ids, fresh) in enumerate(batches_of(windows, how)):
        loss, tokens = summed_loss(predict(ids), ids, fresh)
        total, count = total + loss, count + tokens
        progress(min((done + 1) * _BATCH, len(windows)), len(windows), text.name)
    return score_of(model, text, how, total, count)


def score_of(model: LanguageModel, text: Text, reading: Reading, total: float, count: int) -> TextScore:
    """The score that a summed loss of so many tokens makes.

    Raises:
        InputError: If the loss is not finite.
    """
    if not math.isfinite(total):
        raise InputError(f"the predictions of {model.origin} on {text.name} are not finite numbers; check its weights")
    return TextScore(text.name, _exp(total / count), count, reading.context, reading.step)


def windows_of(model: LanguageModel, text: Text, reading: Reading) -> Tensor:
    """The windows of a text, int64 (windows, context); what is left over at its end is not read.

    Raises:
        InputError: If the text has fewer tokens than one window.
    """
    start = torch.tensor(first_token(model.tokenizer), dtype=torch.int64)
    own, tokens = reading.context - len(start), text.tokens(model.tokenizer, reading.most)
    if len(tokens) < own:
        raise InputError(
            f"the text {text.name} is too short: it has {len(tokens)} tokens, and the context is {reading.context};"
            " give a longer text or a smaller --context"
        )
    windows = tokens.unfold(0, own, min(reading.step, own))
    return torch.cat([start.expand(len(windows), -1), windows], dim=1)


def summed_loss(logits: Tensor, ids: Tensor, fresh: int) -> tuple[float, int]:
    """The negative log-likelihood of the last tokens of windows, summed, and how many these are.

    Args:
        logits: (batch, tokens, vocabulary).
        ids: The windows, (batch, tokens).
        fresh: So many tokens at the end of each are scored; never the first of a window.
    """
    fresh = min(fresh, ids.shape[1] - 1)
    predicted = logits[:, -fresh - 1 : -1].flatten(0, 1)
    wanted = ids[:, -fresh:].flatten().to(predicted.device)
    total = 0.0
    for rows, goals in zip(torch.split(predicted, _ROWS), torch.split(wanted, _ROWS), strict=True):
        total += float(functional.cross_entropy(rows.float(), goals, reduction="sum").double())
    return total, len(wanted)


def batches_of(windows: Tensor, reading: Reading) -> Iterator[tuple[Tensor, int]]:
    """Windows at once, and how many tokens at the end of each no window before predicted."""
    first = windows.shape[1] if reading.step >= windows.shape[1] else None
    if first is None:  # windows overlap: all of the first is new
        yield windows[:1], windows.shape[1]
        windows = windows[1:]
    for batch in torch.split(windows, _BATCH) if len(windows) else ():
        yield batch, reading.step


def _logits_of(network: nn.Module) -> Logits:
    def logits(ids: Tensor) -> Tensor:
        found: Tensor = network(input_ids=ids.to(device_of(network)), use_cache=False).logits
        return found

    return logits


def _exp(mean: float) -> float:
    return math.exp(mean) if mean < 700 else math.inf
