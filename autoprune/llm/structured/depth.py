"""Fewer decoder blocks."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.llm.blocks.capture import passing_over
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.llm.blocks.streams import Streams
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.structured.base import Calibration, Outcome, Structured, kept_of
from autoprune.llm.structured.judge import loss_of, mean_loss
from autoprune.llm.structured.stack import counted_stack, influences, without_blocks
from autoprune.models.modes import in_mode

__all__ = ["Depth", "choose_blocks", "tokens_to_choose"]

_SAME = 1e-4  # of the loss: blocks that are handed more than the stream alone make another one
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


def tokens_to_choose(count: int, windows: Tensor) -> float:
    """What so many blocks take to choose, in tokens that a whole model reads.

    Args:
        count: Blocks that go.
        windows: Of the calibration text, (windows, tokens).
    """
    return count * _SHORTLIST * windows[:_WINDOWS].numel() / 2  # from the kept stream on: half of the blocks each


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
    with in_mode(network):
        trial = _trial(network, stack, windows)
        for number in range(count):
            gone = [step["block"] for step in steps]
            influence = trial.influences()
            left = [place for place in range(len(stack)) if place not in gone]
            tried = {}
            for place in sorted(left, key=influence.__getitem__)[:_SHORTLIST]:
                tried[place] = trial.loss(place)
                calibration.progress(number * _SHORTLIST + len(tried), count * _SHORTLIST, "blocks tried")
            block = min(tried, key=tried.__getitem__)
            trial.take_out(block)
            steps.append({"block": block, "influence": influence[block], "loss": tried[block], "tried": tried})
    return steps


class _Plain:
    """Runs the whole network for every block that is tried."""

    def __init__(self, network: nn.Module, stack: DecoderStack, windows: Tensor) -> None:
        self._network, self._stack, self._windows = network, stack, windows
        self._gone: list[int] = []

    def take_out(self, place: int) -> None:
        """Go on without a block."""
        self._gone.append(place)

    def influences(self) -> list[float]:
        """Of all blocks."""
        with passing_over(self._stack, self._gone):
            return influences(self._network, self._stack, self._windows)

    def loss(self, place: int) -> float:
        """Without one more block (nats a token)."""
        with passing_over(self._stack, [*self._gone, place]):
            return mean_loss(self._network, self._windows)


class _Kept:
    """Runs what lies behind the block that is tried: what reaches it is known."""

    def __init__(self, streams: Streams) -> None:
        self.take_out, self.influences, self._logits = streams.take_out, streams.influences, streams.logits

    def loss(self, place: int) -> float:
        """Without one more block (nats a token)."""
        return loss_of(self._logits(place))


def _trial(network: nn.Module, stack: DecoderStack, windows: Tensor) -> _Plain | _Kept:
    """What tries blocks: from what reaches them, where the network's own predictions follow from that."""
    plain = _Plain(network, stack, windows)
    try:
        streams = Streams(stack, windows)
    except UnsupportedModelError:
        return plain
    own, found = mean_loss(network, windows[:1]), loss_of(Streams(stack, windows[:1]).logits())
    return _Kept(streams) if math.isclose(own, found, rel_tol=_SAME) else plain
