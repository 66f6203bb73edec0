"""Training of a network together with its gates: towards a share of the work, without a gate that never changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.foundations.examples import labels_in
from autoprune.gating.gate import BlockGate, straight_through
from autoprune.gating.network import Segment
from autoprune.models.inputs.example import Example
from autoprune.training.losses import cross_entropy, distillation

__all__ = ["GateLoss", "SoftSkips", "bounds_at"]

_OPENING = 1 / 3  # share of the training after which a gate may do what it wants
_TEMPERATURE = 1.0
_PULL = 10.0  # of the cost's and the bounds' squared distances, as in LAUDNet


class SoftSkips(nn.Module):
    """A network whose gates are open or shut at random in training, with a gradient through the choice.

    Its output in training is a list: logits, the open gates (N, blocks), the dense network's logits, and the share of
    the training that is done. In evaluation mode it gives the logits with gates that open at a score of a half.

    Args:
        forward: The dense network's, whose parameters' names a batch is read by.
        flow: The network that is trained; its graph normalises by the running statistics, which stay.
        segments: Its parts.
        gates: One a block.
        dense: The dense network's parts one after the other: who teaches.
        steps: Of the whole training.
    """

    done: Tensor

    def __init__(
        self,
        forward: Any,
        flow: Flow,
        segments: Sequence[Segment],
        gates: Sequence[BlockGate],
        dense: Any,
        steps: int,
    ) -> None:
        super().__init__()
        self._flow, self._segments, self._dense, self._steps = flow, tuple(segments), dense, max(1, steps)
        self.parts = nn.ModuleList(segment.stage.module for segment in segments)
        self.gates, self._gates = nn.ModuleList(gates), tuple(gates)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        outputs = functools.wraps(forward)(lambda *given, **named: self._outputs(*given, **named))
        self.forward = outputs

    def _outputs(self, *given: Any, **named: Any) -> Any:
        flat = self._flow.flat(Example(given, named))
        features: Tensor | None = None
        opened: list[Tensor] = []
        for segment in self._segments:
            if segment.block is None or features is None:
                features = segment.stage(features, flat)
                continue
            logits = self._gates[len(opened)].logits(features)
            gate = straight_through(logits, _TEMPERATURE) if self.training else (logits > 0).to(features)
            opened.append(gate)
            wide = gate.reshape(-1, *[1] * (features.ndim - 1))
            features = wide * segment.stage(features, flat) + (1 - wide) * segment.skipped(features)
        if not self.training:
            return features
        self.done += 1
        with torch.no_grad():
            taught = self._dense(flat)
        return [features, torch.cat(opened, 1), taught, self.done / self._steps]


class GateLoss:
    """Answers like the dense network's and the labels, at a share of the work.

    Args:
        target: The share of the blocks' work that is aimed at, in (0, 1).
        weights: What each block takes of it; they sum up to 1.
    """

    def __init__(self, target: float, weights: Sequence[float]) -> None:
        self._target, self._weights = target, tuple(weights)

    def __call__(self, outputs: Sequence[Tensor], batch: Any) -> Tensor:
        """A scalar."""
        logits, opened, taught, done = outputs
        learned = distillation(logits, taught, 1.0)
        if labels_in(batch) is not None:
            learned = 0.5 * (learned + cross_entropy(logits, batch))
        rates = opened.mean(0)
        cost = (rates @ torch.tensor(self._weights).to(rates) - self._target) ** 2
        least, most = bounds_at(float(done), self._target)
        outside = ((least - rates).clamp_min(0) ** 2 + (rates - most).clamp_min(0) ** 2).mean()
        return learned + _PULL * (cost + outside)


def bounds_at(done: float, target: float) -> tuple[float, float]:
    """Between which shares of the inputs every gate is held open; all at the target at first, free in the end.

    Without bounds some gates are open for all inputs and the others for none, and the network is a static one. The
    corridor opens over the first third of the training, as in LAUDNet (Han et al., 2023).

    Args:
        done: The share of the training.
        target: The share that is aimed at.

    >>> bounds_at(0.0, 0.6), bounds_at(1.0, 0.6)
    ((0.6, 0.6), (0.0, 1.0))
    """
    free = math.sin(math.pi / 2 * min(1.0, done / _OPENING)) ** 2
    return target * (1 - free), target + (1 - target) * free
