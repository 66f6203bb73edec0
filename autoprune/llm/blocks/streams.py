"""The residual stream between the blocks, kept, so that a network without one more block is run from there on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from autoprune.llm.blocks.capture import arrivals, head_logits, run_block
from autoprune.llm.blocks.stack import DecoderStack

__all__ = ["Streams"]

_BATCH = 4  # windows at once


class Streams:
    """What reaches every block for some windows, in a network that loses blocks one after the other.

    Memory: one stream for each block, (windows, tokens, hidden). The network has to be in evaluation mode.

    Args:
        stack: The blocks.
        windows: Token ids, int64 (windows, tokens).

    Raises:
        UnsupportedModelError: If the network does not call its blocks one after the other.
    """

    @torch.no_grad()
    def __init__(self, stack: DecoderStack, windows: Tensor) -> None:
        self._stack, self._batches = stack, torch.split(windows, _BATCH)
        self._arrived = arrivals(stack, self._batches)
        self._gone: set[int] = set()
        self._before = [[each.hidden] * (len(stack) + 1) for each in self._arrived]
        for batch in range(len(self._batches)):
            self._before[batch] = self._from(batch, 0)

    @torch.no_grad()
    def take_out(self, place: int) -> None:
        """Go on without a block."""
        self._gone.add(place)
        for batch, before in enumerate(self._before):
            self._before[batch] = [*before[:place], *self._from(batch, place)]

    @torch.no_grad()
    def influences(self) -> list[float]:
        """1 minus the mean cosine between the stream before and behind each block; 0 of blocks that are gone."""
        sums, tokens = [0.0] * len(self._stack), sum(ids.numel() for ids in self._batches)
        for before in self._before:
            for place in range(len(self._stack)):
                one, other = before[place].float(), before[place + 1].float()
                sums[place] += float(torch.nn.functional.cosine_similarity(one, other, dim=-1).double().sum())
        return [0.0 if place in self._gone else 1 - total / tokens for place, total in enumerate(sums)]

    @torch.no_grad()
    def logits(self, without: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Token ids (batch, tokens) and logits (batch, tokens, vocabulary), of the network without one more block."""
        for batch, (ids, arrived) in enumerate(zip(self._batches, self._arrived, strict=True)):
            last = self._before[batch][-1] if without is None else self._from(batch, without, without)[-1]
            yield ids, head_logits(self._stack, ids, last, arrived.in_tuple)

    def _from(self, batch: int, place: int, without: int | None = None) -> list[Tensor]:
        """What reaches a block and all behind it, and what the last one gives."""
        found = [self._before[batch][place]]
        for number in range(place, len(self._stack)):
            passes = number in self._gone or number == without
            call = self._arrived[batch].calls[number]
            found.append(found[-1] if passes else run_block(self._stack.blocks[number], found[-1], call))
        return found
