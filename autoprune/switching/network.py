"""The network of several widths in torch: the trunk, the gate, and for each row the width that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.module import DynamicModule, rows_of
from autoprune.dynamic_networks.stages import Stage, cut_at
from autoprune.errors import InputError, UnsupportedModelError
from autoprune.models.inputs.example import Example
from autoprune.switching.gate import WidthGate

__all__ = ["SwitchNetwork", "Width", "tail_of"]


@dataclass(frozen=True, eq=False)
class Width:
    """One narrow width of the network behind the trunk.

    Attributes:
        name: For people.
        tail: Its part behind the trunk.
        threshold: Score from which an input takes it.

    Raises:
        InputError: If the threshold is below 0 or not finite; above 1 nothing takes it.
    """

    name: str
    tail: Stage
    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < float("inf"):
            raise InputError(
                f"the threshold of {self.name} is {self.threshold}; it should be a finite number from 0 on"
            )


def tail_of(flow: Flow, node: str, trunk: Stage, small: Flow) -> Stage:
    """The part of a narrower network behind the trunk that it has in common with the dense one.

    Args:
        flow: The dense network.
        node: The value at which the trunk ends.
        trunk: The dense network's.
        small: The narrower network.

    Raises:
        UnsupportedModelError: If the narrower network's trunk gives something else.
    """
    own, tail = cut_at(small, [node])
    call = flow.example
    with torch.no_grad():
        if not torch.equal(own(None, small.flat(call)), trunk(None, flow.flat(call))):
            raise UnsupportedModelError(f"a narrower network computes something else up to {node}")
    return tail


class SwitchNetwork(DynamicModule):
    """A network whose rest behind a trunk has several widths; a gate chooses one for each input.

    An input takes the first width, from the narrowest on, whose score reaches its threshold, else the whole network.
    A score that is no number reaches none. A batch is run width by width; each row's answer is the one that it gets
    alone.

    Args:
        flow: The dense network; its parameters are shared.
        node: The value at which the trunk ends.
        gate: A score for every width.
        widths: From the narrowest on, without the whole network.
        expected: Number of the search split's inputs on each path, the whole network last.

    Raises:
        InputError: If there is no width.
    """

    def __init__(
        self, flow: Flow, node: str, gate: WidthGate, widths: Sequence[Width], *, expected: Sequence[int] = ()
    ) -> None:
        super().__init__(flow, len(widths) + 1, expected)
        if not widths:
            raise InputError("a network of several widths has at least one beside the whole one")
        self.node, self.gate, self.widths = node, gate, tuple(widths)
        self.trunk, whole = cut_at(flow, [node])
        self.tails = (*(each.tail for each in widths), whole)
        self.parts = nn.ModuleList(stage.module for stage in (self.trunk, *self.tails))

    def explain(self, *args: Any, **kwargs: Any) -> list[dict[str, float]]:
        """For each row the score of every narrow width: name -> score."""
        scores = self.gate(self.trunk(None, self._flow.flat(Example(args, kwargs))))
        return [dict(zip((each.name for each in self.widths), row, strict=True)) for row in scores.tolist()]

    def _run(self, flat: Sequence[Any], samples: int) -> tuple[Tensor, Tensor]:
        features = self.trunk(None, flat)
        thresholds = torch.tensor([each.threshold for each in self.widths]).to(features)
        fits = (self.gate(features) >= thresholds).cpu()  # never where it is NaN
        taken = torch.cat([fits, torch.ones(samples, 1, dtype=torch.bool)], 1).int().argmax(1)
        order, logits = [], []
        for number, tail in enumerate(self.tails):
            rows = (taken == number).nonzero()[:, 0]
            if len(rows):
                order.append(rows)
                logits.append(tail(features[rows], rows_of(flat, rows, samples)))
        return torch.cat(logits)[torch.cat(order).argsort()], taken
