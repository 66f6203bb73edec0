"""Fewer decoder blocks."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from autoprune.llm.blocks.capture import passing_over
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.structured.base import Calibration, Outcome, Structured, kept_of
from autoprune.llm.structured.judge import mean_loss
from autoprune.llm.structured.stack import counted_stack, influences, without_blocks

__all__ = ["Depth", "choose_blocks"]

_SHORTLIST = 6  # blocks that are tried at each step
_WINDOWS = 8  # of the calibration text that each is tried on


class Depth(Structured):
    """Removes whole blocks, one after the other: block influence makes a shortlist, perplexity decides.

    A block that changes the stream little may be needed all the same (a low influence is only a hint), and one that can
    be spared beside all others need not be once a neighbour is gone: so after each block the others are judged anew.
    """

    name: ClassVar[str] = "depth"
    counts: ClassVar[str] = "blocks"

    def prune(self, model: LanguageModel, ratio: float, calibration: Calibration) -> Outcome:
        """A model with a smaller `num_hidden_layers`."""
        stack = counted_stack(model.network)
        count = len(stack) - kept_of(len(stack), ratio, self.counts)
        steps = choose_blocks(model.network, stack, count, calibration)
        gone = sorted(step["block"] for step in steps)
        small = without_blocks(model.network, gone)
        removed = {"blocks": gone, "of": len(stack), "steps": steps}
        return Outcome(model.with_network(small), count / len(stack), removed)


def choose_blocks(
    network: nn.Module, stack: DecoderStack, count: int, calibration: Calibration
) -> list[dict[str, Any]]:
    """Which blocks go, in the order in which they were chosen.

    Args:
        network: The model.
        stack: Its blocks.
        count: How many go.
        calibration: The text that decides.

    Returns:
        A step each: the block, its influence, the loss (nats a token) without it, and those that were tried.
    """
    windows = calibration.windows[:_WINDOWS]
    steps: list[dict[str, Any]] = []
    for number in range(count):
        gone = [step["block"] for step in steps]
        with passing_over(stack, gone):
            influence = influences(network, stack, windows)
        left = [place for place in range(len(stack)) if place not in gone]
        tried = {}
        for place in sorted(left, key=influence.__getitem__)[:_SHORTLIST]:
            tried[place] = _loss_without(network, stack, [*gone, place], windows)
            calibration.progress(number * _SHORTLIST + len(tried), count * _SHORTLIST, "blocks tried")
        block = min(tried, key=tried.__getitem__)
        steps.append({"block": block, "influence": influence[block], "loss": tried[block], "tried": tried})
    return steps


def _loss_without(network: nn.Module, stack: DecoderStack, places: list[int], windows: Tensor) -> float:
    with passing_over(stack, places):
        return mean_loss(network, windows)
