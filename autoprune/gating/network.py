"""The network whose blocks are skipped, in torch: its parts in forward order, a gate before some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.module import DynamicModule, rows_of
from autoprune.dynamic_networks.stages import Stage, cut_at
from autoprune.errors import InputError
from autoprune.gating.blocks import Residual
from autoprune.gating.gate import BlockGate
from autoprune.models.inputs.example import Example

__all__ = ["Segment", "SkipNetwork", "segments_of"]


@dataclass(frozen=True, eq=False)
class Segment:
    """A part of the network.

    Attributes:
        stage: What it computes.
        block: The block that it is, which may be skipped; None where it always runs.
    """

    stage: Stage
    block: Residual | None

    def skipped(self, features: Tensor) -> Tensor:
        """What remains of its input where it is skipped."""
        return features.relu() if self.block is not None and self.block.relu else features


def segments_of(flow: Flow, blocks: Sequence[Residual]) -> tuple[Segment, ...]:
    """The parts of a network, cut at the ends of blocks.

    Args:
        flow: The network; the parts share its parameters.
        blocks: In forward order.

    Raises:
        UnsupportedModelError: If the network has no such value.
    """
    wanted = {name for block in blocks for name in (block.start, block.end)}
    nodes = [node.name for node in flow.nodes if node.name in wanted]
    by_end = {block.end: block for block in blocks}
    stages = cut_at(flow, nodes)
    return tuple(Segment(stage, by_end.get(end or "")) for stage, end in zip(stages, [*nodes, None], strict=True))


class SkipNetwork(DynamicModule):
    """A network whose blocks an input skips where its gate's score is below a threshold.

    A score that is no number skips nothing. The path of an input is the number of its blocks that are computed. A batch
    is regrouped at every gate; each row's answer is the one that it gets alone.

    Args:
        flow: The network; its parameters are shared.
        blocks: In forward order.
        gates: One a block.
        thresholds: One a block, the score from which it is computed.
        expected: Number of the search split's inputs with none, one, ... of the blocks.

    Raises:
        InputError: If there is no block, not a gate and a threshold for each, or a threshold is below 0 or not finite.
    """

    def __init__(
        self,
        flow: Flow,
        blocks: Sequence[Residual],
        gates: Sequence[BlockGate],
        thresholds: Sequence[float],
        *,
        expected: Sequence[int] = (),
    ) -> None:
        super().__init__(flow, len(blocks) + 1, expected)
        if not blocks or not len(blocks) == len(gates) == len(thresholds):
            raise InputError("a network that skips has blocks, with a gate and a threshold for each")
        for block, each in zip(blocks, thresholds, strict=True):
            if not 0 <= each < float("inf"):
                raise InputError(f"the threshold at {block.name} is {each}; it should be a finite number from 0 on")
        self.blocks, self.thresholds = tuple(blocks), tuple(thresholds)
        self.segments = segments_of(flow, blocks)
        self.parts = nn.ModuleList(segment.stage.module for segment in self.segments)
        self.gates = nn.ModuleList(gates)

    def decisions(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and which blocks each row computes, bool (N, blocks)."""
        return self.decided(self._flow.flat(Example(args, kwargs)))

    def decided(self, flat: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """The same of inputs in the order of the graph's."""
        features: Tensor | None = None
        opened: list[Tensor] = []
        for segment in self.segments:
            if segment.block is None or features is None:
                features = segment.stage(features, flat)
                continue
            number = len(opened)
            skips = self.gates[number](features)[:, 0] < self.thresholds[number]  # never where it is NaN
            opened.append(~skips.cpu())
            features = _where_open(segment, features, flat, opened[-1])
        if features is None:
            raise InputError("a network that skips has a part that runs")
        return features, torch.stack(opened, 1)

    def explain(self, *args: Any, **kwargs: Any) -> list[dict[str, bool]]:
        """For each row which blocks it computes: name -> whether."""
        opened = self.decisions(*args, **kwargs)[1]
        return [dict(zip((each.name for each in self.blocks), row, strict=True)) for row in opened.tolist()]

    def _run(self, flat: Sequence[Any], samples: int) -> tuple[Tensor, Tensor]:
        logits, opened = self.decided(flat)
        return logits, opened.sum(1)


def _where_open(segment: Segment, features: Tensor, flat: Sequence[Any], opened: Tensor) -> Tensor:
    """A block's value for the rows that compute it, and what remains of the others."""
    rows = opened.nonzero()[:, 0]
    if len(rows) == len(opened):
        return segment.stage(features, flat)
    result = segment.skipped(features)
    if len(rows):
        result = result.clone()
        result[rows] = segment.stage(features[rows], rows_of(flat, rows, len(opened)))
    return result
