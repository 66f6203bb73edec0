"""The network whose channels are gated, in torch: a mask between the two convolutions of every pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from autoprune.channel_gating.pairs import ChannelPair, path_of_count, paths_of
from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.dynamic_networks.stages import cut_at
from autoprune.errors import InputError
from autoprune.gating.gate import BlockGate
from autoprune.models.inputs.example import Example

__all__ = ["ChannelNetwork", "kept_channels", "run_masked"]

MaskOf = Callable[[int, Tensor], Tensor]
"""Number of a pair and what its first convolution reads, (N, C, H, W) -> a mask of its channels, (N, width)."""


def kept_channels(scores: Tensor, most: int, threshold: float) -> Tensor:
    """Which channels are kept: of the most important ones those whose score reaches the threshold, and one at least.

    A score that is no number is not below the threshold.

    Args:
        scores: (N, width).
        most: Channels at most.
        threshold: Score from which a channel is kept.

    Returns:
        bool (N, width).
    """
    best, places = scores.topk(most, 1)
    fits = ~(best < threshold)
    fits[:, 0] = True
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, places, fits)


def run_masked(flow: Flow, pairs: Sequence[ChannelPair], flat: Sequence[Any], mask_of: MaskOf) -> tuple[Tensor, Tensor]:
    """The network's output, channels that are not kept set to zero; and all masks side by side.

    Args:
        flow: The network.
        pairs: With gates.
        flat: Its inputs in the order of the graph's.
        mask_of: The masks.
    """
    whole = cut_at(flow, [])[0]
    run = _Masked(whole.module, pairs, mask_of)
    logits: Tensor = run.run(*whole.arguments(None, flat))
    return logits, torch.cat([run.masks[pair.second] for pair in pairs], 1)


class _Masked(fx.Interpreter):
    def __init__(self, module: Any, pairs: Sequence[ChannelPair], mask_of: MaskOf) -> None:
        super().__init__(module)
        self._firsts = {pair.first: number for number, pair in enumerate(pairs)}
        self._pairs, self._mask_of = tuple(pairs), mask_of
        self.masks: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_function" and (n.name in self._firsts or n.name in self.masks):
            given, named = self.fetch_args_kwargs_from_env(n)
            if n.name in self._firsts:
                number = self._firsts[n.name]
                self.masks[self._pairs[number].second] = self._mask_of(number, given[0])
            else:
                given = (given[0] * self.masks[n.name].to(given[0])[:, :, None, None], *given[1:])
            return self.call_function(n.target, given, named)
        return super().run_node(n)


class ChannelNetwork(DynamicModule):
    """A network of which each input computes the channels that its gates choose.

    Here the others are set to zero, which gives the same answers and saves no time; the file computes only the chosen
    ones. The path of an input is the share of the gated channels that it keeps, in tenths.

    Args:
        flow: The network; its parameters are shared.
        pairs: In forward order.
        gates: One a pair, a score for every channel.
        caps: Channels that each pair keeps at most.
        threshold: Score from which a channel is kept.
        expected: Number of the search split's inputs on each path.

    Raises:
        InputError: If there is no pair, not a gate and a cap for each, or the threshold is below 0 or not finite.
    """

    def __init__(
        self,
        flow: Flow,
        pairs: Sequence[ChannelPair],
        gates: Sequence[BlockGate],
        caps: Sequence[int],
        threshold: float,
        *,
        expected: Sequence[int] = (),
    ) -> None:
        if not pairs or not len(pairs) == len(gates) == len(caps):
            raise InputError("a network with gated channels has pairs of convolutions, with a gate and a cap for each")
        if not all(1 <= cap <= pair.width for cap, pair in zip(caps, pairs, strict=True)):
            raise InputError("a pair of convolutions keeps from one to all of its channels at most")
        if not 0 <= threshold < float("inf"):
            raise InputError(f"the threshold of the channels is {threshold}; it should be a finite number from 0 on")
        super().__init__(flow, paths_of([pair.width for pair in pairs], caps), expected)
        self.pairs, self.caps, self.threshold = tuple(pairs), tuple(caps), threshold
        self.gates, self.whole = nn.ModuleList(gates), cut_at(flow, [])[0].module

    def decided(self, flat: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and which channels each row keeps, bool (N, channels of all pairs)."""
        return self.decided_at(flat, self.threshold)

    def decided_at(self, flat: Sequence[Any], threshold: float) -> tuple[Tensor, Tensor]:
        """The same at another threshold."""

        def mask_of(number: int, features: Tensor) -> Tensor:
            return kept_channels(self.gates[number](features), self.caps[number], threshold)

        return run_masked(self._flow, self.pairs, flat, mask_of)

    def explain(self, *args: Any, **kwargs: Any) -> list[dict[str, float]]:
        """For each row the share of the channels that each pair keeps: name -> share."""
        kept = self.decided(self._flow.flat(Example(args, kwargs)))[1].float()
        shares = [part.mean(1) for part in torch.split(kept, [pair.width for pair in self.pairs], 1)]
        return [
            dict(zip((pair.name for pair in self.pairs), row, strict=True)) for row in torch.stack(shares, 1).tolist()
        ]

    def _run(self, flat: Sequence[Any], samples: int) -> tuple[Tensor, Tensor]:
        logits, kept = self.decided(flat)
        return logits, path_of_count(kept.sum(1), kept.shape[1])
