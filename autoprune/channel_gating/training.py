"""Training of a network whose channels are kept or not at random, with a gradient through the choice."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.channel_gating.network import run_masked
from autoprune.channel_gating.pairs import ChannelPair
from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.stages import cut_at
from autoprune.gating.gate import BlockGate, straight_through
from autoprune.models.inputs.example import Example

__all__ = ["SoftChannels"]

_TEMPERATURE = 1.0


class SoftChannels(nn.Module):
    """A network whose gated channels are kept at random in training.

    Its output in training is what `GateLoss` reads: logits, the kept channels (N, channels of all pairs), the dense
    network's logits, and the share of the training that is done. In evaluation mode it gives the logits with channels
    that are kept from a score of a half on.

    Args:
        forward: The dense network's, whose parameters' names a batch is read by.
        flow: The network that is trained; its graph normalises by the running statistics, which stay.
        pairs: With gates.
        gates: One a pair.
        dense: The dense network: who teaches.
        steps: Of the whole training.
    """

    done: Tensor

    def __init__(
        self,
        forward: Any,
        flow: Flow,
        pairs: Sequence[ChannelPair],
        gates: Sequence[BlockGate],
        dense: Any,
        steps: int,
    ) -> None:
        super().__init__()
        self._flow, self._pairs, self._dense, self._steps = flow, tuple(pairs), dense, max(1, steps)
        self.whole, self.gates = cut_at(flow, [])[0].module, nn.ModuleList(gates)
        self._gates = tuple(gates)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        outputs = functools.wraps(forward)(lambda *given, **named: self._outputs(*given, **named))
        self.forward = outputs

    def _outputs(self, *given: Any, **named: Any) -> Any:
        flat = self._flow.flat(Example(given, named))

        def mask_of(number: int, features: Tensor) -> Tensor:
            logits = self._gates[number].logits(features)
            return straight_through(logits, _TEMPERATURE) if self.training else (logits > 0).to(features)

        logits, kept = run_masked(self._flow, self._pairs, flat, mask_of)
        if not self.training:
            return logits
        self.done += 1
        with torch.no_grad():
            taught = self._dense(flat)
        return [logits, kept, taught, self.done / self._steps]
