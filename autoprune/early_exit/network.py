"""The dynamic network in torch: rows that are sure leave, the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.early_exit.confidence import confidence_named
from autoprune.early_exit.flow import Flow
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.stages import Stage, cut_at
from autoprune.errors import InputError
from autoprune.models.inputs.example import Example

__all__ = ["DynamicNetwork", "Exit"]


@dataclass(frozen=True)
class Exit:
    """An exit of a dynamic network.

    Attributes:
        place: The module behind which it is.
        node: The value in the exported graph.
        threshold: Confidence from which an input leaves.

    Raises:
        InputError: If the threshold is below 0 or not finite; above 1 nothing leaves.
    """

    place: str
    node: str
    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < float("inf"):
            raise InputError(
                f"the threshold at {self.place} is {self.threshold}; it should be a finite number from 0 on"
            )


class DynamicNetwork(nn.Module):
    """A network with exits, called as the network itself.

    A batch is regrouped at every exit: rows that are sure enough leave with the head's answer, and only the others are
    computed on. Each row's answer is the one that it gets alone.

    Args:
        flow: The network; its parameters are shared.
        exits: In forward order.
        heads: One an exit.
        confidence: Its kind.

    Attributes:
        counts: How many inputs took each exit so far, the end last.

    Raises:
        InputError: If there is no exit, or not a head for each.
    """

    def __init__(self, flow: Flow, exits: Sequence[Exit], heads: Sequence[ExitHead], confidence: str) -> None:
        super().__init__()
        if not exits or len(exits) != len(heads):
            raise InputError(f"a dynamic network has exits with a head each, not {len(exits)} with {len(heads)}")
        self._flow, self.exits, self.confidence = flow, tuple(exits), confidence
        self._stages = cut_at(flow, [each.node for each in exits])
        self.parts = nn.ModuleList(stage.module for stage in self._stages)
        self.heads = nn.ModuleList(heads)
        self.counts = [0] * (len(exits) + 1)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The network's parts, one more than there are exits."""
        return self._stages

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Logits (N, classes)."""
        return self.answers(*args, **kwargs)[0]

    def answers(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and the exit that each row took, int64 (N,); the end has the highest number."""
        call = Example(args, kwargs)
        flat = self._flow.flat(call)
        samples = call.batch
        if self._flow.one_by_one and samples > 1:
            rows = [self._run(_rows(flat, torch.tensor([row]), samples), 1) for row in range(samples)]
            logits, taken = (torch.cat(parts) for parts in zip(*rows, strict=True))
        else:
            logits, taken = self._run(flat, samples)
        for number in taken.tolist():
            self.counts[number] += 1
        return logits, taken

    def explain(self, *args: Any, **kwargs: Any) -> list[dict[str, float]]:
        """For each row the confidence at every exit, whether or not it would have left before: place -> confidence."""
        call = Example(args, kwargs)
        flat, sure = self._flow.flat(call), confidence_named(self.confidence)
        features: Tensor | None = None
        found: list[dict[str, float]] = [{} for _ in range(call.batch)]
        for stage, head, each in zip(self._stages, self.heads, self.exits, strict=False):
            features = stage(features, flat)
            for row, value in zip(found, sure(head(features)).tolist(), strict=True):
                row[each.place] = value
        return found

    def _run(self, flat: Sequence[Any], samples: int) -> tuple[Tensor, Tensor]:
        sure = confidence_named(self.confidence)
        rows = torch.arange(samples)
        logits: list[Tensor] = []
        order: list[Tensor] = []
        taken = torch.full((samples,), len(self.exits))
        features: Tensor | None = None
        for number, (each, head) in enumerate(zip(self.exits, self.heads, strict=True)):
            features = self._stages[number](features, flat)
            answer = head(features)
            leaves = (sure(answer) >= each.threshold).cpu()  # never where it is NaN
            taken[rows[leaves]] = number
            logits.append(answer[leaves])
            order.append(rows[leaves])
            if bool(leaves.all()):
                break
            stays = (~leaves).nonzero()[:, 0]
            if bool(leaves.any()):
                flat, features = _rows(flat, stays, len(rows)), features[stays]
            rows = rows[stays]
        else:
            logits.append(self._stages[-1](features, flat))
            order.append(rows)
        return torch.cat(logits)[torch.cat(order).argsort()], taken


def _rows(flat: Sequence[Any], rows: Tensor, samples: int) -> tuple[Any, ...]:
    """Some rows of every input that has one for each sample."""
    return tuple(
        each[rows] if isinstance(each, Tensor) and each.dim() and each.shape[0] == samples else each for each in flat
    )
