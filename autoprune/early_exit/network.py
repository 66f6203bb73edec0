"""The dynamic network in torch: rows that are sure leave, the others go on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.early_exit.confidence import confidence_named
from autoprune.early_exit.drift import WINDOW, Drift
from autoprune.early_exit.flow import Flow
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.stages import Stage, cut_at
from autoprune.errors import InputError
from autoprune.models.inputs.example import Example

__all__ = ["DynamicNetwork", "Exit", "thresholds_within"]


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


def thresholds_within(thresholds: Sequence[float], last: int) -> tuple[float, ...]:
    """Thresholds under which nobody passes one exit: it has 0, those before it keep theirs.

    Args:
        thresholds: Of all exits.
        last: The exit; the number of exits for the end, where all stay as they are.
    """
    return tuple(0.0 if number == last else each for number, each in enumerate(thresholds))


class DynamicNetwork(nn.Module):
    """A network with exits, called as the network itself.

    A batch is regrouped at every exit: rows that are sure enough leave with the head's answer, and only the others are
    computed on. Each row's answer is the one that it gets alone.

    Args:
        flow: The network; its parameters are shared.
        exits: In forward order.
        heads: One an exit.
        confidence: Its kind.
        expected: Number of the search split's inputs on each path, the end last; empty where nothing is expected.
        deadlines_ms: Within what nearly every call ends that leaves there, the end last, as measured; empty if unknown.

    Attributes:
        counts: How many inputs took each exit so far, the end last.
        drift: Compares the exits taken of late with the expected ones, and warns; None where nothing is expected.

    Raises:
        InputError: If there is no exit, or not a head for each.
    """

    def __init__(
        self,
        flow: Flow,
        exits: Sequence[Exit],
        heads: Sequence[ExitHead],
        confidence: str,
        *,
        expected: Sequence[int] = (),
        deadlines_ms: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if not exits or len(exits) != len(heads):
            raise InputError(f"a dynamic network has exits with a head each, not {len(exits)} with {len(heads)}")
        self._flow, self.exits, self.confidence = flow, tuple(exits), confidence
        self._stages = cut_at(flow, [each.node for each in exits])
        self.parts = nn.ModuleList(stage.module for stage in self._stages)
        self.heads = nn.ModuleList(heads)
        self.counts = [0] * (len(exits) + 1)
        if any(len(each) not in (0, len(self.counts)) for each in (expected, deadlines_ms)):
            raise InputError(
                f"{len(exits)} exits have {len(self.counts)} paths: give a number of inputs and a time for each"
            )
        self.drift = Drift(expected) if expected else None
        self.deadlines_ms = tuple(deadlines_ms)

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
        self._counted(taken.tolist())
        return logits, taken

    def within(self, deadline_ms: float) -> DynamicNetwork:
        """The network for calls with a deadline: whoever has not left before leaves at the last exit in time.

        It shares all weights. In the exported file the same is said by the thresholds of `deadlines` in the report.

        Args:
            deadline_ms: Milliseconds that a call may take on the target.

        Raises:
            InputError: If the network was not made with `--anytime`, or no exit is early enough.
        """
        if not self.deadlines_ms:
            raise InputError("the times of the paths are not known; make the network with --anytime")
        if deadline_ms < self.deadlines_ms[0]:
            raise InputError(
                f"no exit is within {deadline_ms:.4g} ms; the first one takes {self.deadlines_ms[0]:.4g} ms"
            )
        last = max(number for number, ms in enumerate(self.deadlines_ms) if ms <= deadline_ms)
        forced = thresholds_within([each.threshold for each in self.exits], last)
        exits = [replace(each, threshold=threshold) for each, threshold in zip(self.exits, forced, strict=True)]
        heads = [head for head in self.heads if isinstance(head, ExitHead)]
        return DynamicNetwork(self._flow, exits, heads, self.confidence, deadlines_ms=self.deadlines_ms).eval()

    def _counted(self, taken: Sequence[int]) -> None:
        for number in taken:
            self.counts[number] += 1
        if self.drift is not None and self.drift.add(taken):
            warnings.warn(
                f"the last {WINDOW} inputs do not leave where the search split's did; the promised accuracy is for"
                " inputs like those (`network.drift`)",
                stacklevel=3,
            )

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
