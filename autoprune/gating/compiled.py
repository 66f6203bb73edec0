"""A network with gates as it is handed over: gates that decide alike for all inputs are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.stages import cut_at, run_stages
from autoprune.gating.blocks import Residual
from autoprune.gating.gate import BlockGate
from autoprune.gating.network import SkipNetwork
from autoprune.gating.sweep import Split

__all__ = ["Compiled"]


@dataclass(frozen=True, eq=False)
class Compiled:
    """The network at one threshold.

    Attributes:
        flow: Without the blocks that are dropped.
        blocks: With gates.
        gates: One a block.
        split: What all gates do.
        threshold: Of the gates.
        count: All blocks that had gates in the training.
    """

    flow: Flow
    blocks: list[Residual]
    gates: list[BlockGate]
    split: Split
    threshold: float
    count: int

    def network(self, expected: Sequence[int] = ()) -> SkipNetwork:
        """In torch."""
        levels = (self.threshold,) * len(self.blocks)
        return SkipNetwork(self.flow, self.blocks, self.gates, levels, expected=expected).eval()

    def decided(self, flat: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and which of all blocks are computed, bool (N, count)."""
        logits, live = self._answers(flat)
        opened = torch.ones(len(logits), self.count, dtype=torch.bool)
        opened[:, list(self.split.dropped)] = False
        opened[:, list(self.split.live)] = live
        return logits, opened

    @cached_property
    def _answers(self) -> Callable[[Sequence[Any]], tuple[Tensor, Tensor]]:
        if self.blocks:
            return self.network().decided
        whole = cut_at(self.flow, [])
        return lambda flat: (run_stages(whole, flat), torch.ones(1, 0, dtype=torch.bool))
