"""Perplexity of a network of which one block is in memory at a time: all windows go through a block, then the next."""

from __future__ import annotations

import torch

from autoprune.foundations.progress import Progress, no_progress
from autoprune.llm.blocks.capture import arrivals, head_logits, run_block
from autoprune.llm.blocks.storage import BlockStorage
from autoprune.llm.evaluation.perplexity import Reading, TextScore, batches_of, score_of, summed_loss, windows_of
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.texts import Text

__all__ = ["perplexity_by_blocks"]


@torch.no_grad()
def perplexity_by_blocks(
    model: LanguageModel,
    storage: BlockStorage,
    text: Text,
    reading: Reading | None = None,
    progress: Progress = no_progress,
) -> TextScore:
    """The same figure as `perplexity` gives.

    Args:
        model: Its network is the one whose blocks are stored.
        storage: The blocks.
        text: What it reads.
        reading: Context, stride, and how much of the text.
        progress: Receives blocks done.

    Raises:
        InputError: As `perplexity`.
    """
    how, stack = Reading() if reading is None else reading, storage.stack
    batches = list(batches_of(windows_of(model, text, how), how))
    with storage.resident(0):
        arrived = arrivals(stack, [ids for ids, _ in batches])
    hidden = [each.hidden for each in arrived]
    for number in range(len(stack.blocks)):
        with storage.resident(number) as block:
            hidden = [run_block(block, h, each.calls[number]) for h, each in zip(hidden, arrived, strict=True)]
        progress(number + 1, len(stack.blocks), text.name)
    losses = [
        summed_loss(head_logits(stack, ids, h, each.in_tuple), ids, fresh)
        for (ids, fresh), h, each in zip(batches, hidden, arrived, strict=True)
    ]
    return score_of(model, text, how, sum(loss for loss, _ in losses), sum(count for _, count in losses))
