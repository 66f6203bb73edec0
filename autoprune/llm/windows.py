"""Windows of one length, drawn from a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.llm.models.library import quiet
from autoprune.llm.texts import Text

__all__ = ["calibration_windows", "first_token"]


def first_token(tokenizer: Any) -> list[int]:
    """The token that the tokenizer puts in front of every text; empty where it puts none."""
    with quiet():
        ids = list(tokenizer("a")["input_ids"])
    start = tokenizer.bos_token_id
    return [start] if start is not None and ids[:1] == [start] else []


def calibration_windows(text: Text, tokenizer: Any, count: int, length: int, seed: int = 0) -> Tensor:
    """Windows drawn from a text, each from anywhere in it.

    Args:
        text: The calibration text.
        tokenizer: Of the model. Where it puts a token in front of texts, each window has it.
        count: How many windows.
        length: Tokens of each.
        seed: Of the draw.

    Returns:
        Token ids, int64 (count, length).

    Raises:
        InputError: If the text has fewer tokens than one window.
    """
    start = first_token(tokenizer)
    tokens, own = text.tokens(tokenizer), length - len(start)
    if len(tokens) < own:
        raise InputError(
            f"the calibration text {text.name} is too short: it has {len(tokens)} tokens, and one window takes {own}"
        )
    begins = torch.randint(len(tokens) - own + 1, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return torch.stack([_window(start, tokens[begin : begin + own]) for begin in begins])


def _window(start: Sequence[int], tokens: Tensor) -> Tensor:
    return torch.cat([torch.tensor(start, dtype=torch.int64), tokens])
