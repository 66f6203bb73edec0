"""The dynamic network in torch: rows that are sure leave, the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.flow import Flow
from autoprune.dynamic_networks.module import DynamicModule, rows_of
from autoprune.dynamic_networks.stages import Stage, cut_at
from autoprune.early_exit.confidence.base import Seen
from autoprune.early_exit.confidence.registry import confidence_named
from autoprune.early_exit.heads import ExitHead
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


class DynamicNetwork(DynamicModule):
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
        super().__init__(flow, len(exits) + 1, expected)
        if not exits or len(exits) != len(heads):
            raise InputError(f"a dynamic network has exits with a head each, not {len(exits)} with {len(heads)}")
        self.exits, self.confidence = tuple(exits), confidence
        self._stages = cut_at(flow, [each.node for each in exits])
        self.parts = nn.ModuleList(stage.module for stage in self._stages)
        self.heads = nn.ModuleList(heads)
        if len(deadlines_ms) not in (0, len(self.counts)):
            raise InputError(f"{len(exits)} exits have {len(self.counts)} paths: give a time for each")
        self.deadlines_ms = tuple(deadlines_ms)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The network's parts, one more than there are exits."""
        return self._stages

    @property
    def _exit_heads(self) -> list[ExitHead]:
        return [head for head in self.heads if isinstance(head, ExitHead)]

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
        return DynamicNetwork(
            self._flow, exits, self._exit_heads, self.confidence, deadlines_ms=self.deadlines_ms
        ).eval()

    def explain(self, *args: Any, **kwargs: Any) -> list[dict[str, float]]:
        """For each row the confidence at every exit, whether or not it would have left before: place -> confidence."""
        call = Example(args, kwargs)
        flat, kind = self._flow.flat(call), confidence_named(self.confidence)
        features: Tensor | None = None
        before: Tensor | None = None
        found: list[dict[str, float]] = [{} for _ in range(call.batch)]
        for stage, head, each in zip(self._stages, self._exit_heads, self.exits, strict=False):
            features = stage(features, flat)
            seen = Seen(head(features), head.scorer, before)
            before = kind.carried(seen)
            for row, value in zip(found, kind.of(seen).tolist(), strict=True):
                row[each.place] = value
        return found

    def _run(self, flat: Sequence[Any], samples: int) -> tuple[Tensor, Tensor]:
        kind = confidence_named(self.confidence)
        rows = torch.arange(samples)
        logits: list[Tensor] = []
        order: list[Tensor] = []
        taken = torch.full((samples,), len(self.exits))
        features: Tensor | None = None
        before: Tensor | None = None
        for number, (each, head) in enumerate(zip(self.exits, self._exit_heads, strict=True)):
            features = self._stages[number](features, flat)
            answer = head(features)
            seen = Seen(answer, head.scorer, before)
            leaves = (kind.of(seen) >= each.threshold).cpu()  # never where it is NaN
            before = kind.carried(seen)
            taken[rows[leaves]] = number
            logits.append(answer[leaves])
            order.append(rows[leaves])
            if bool(leaves.all()):
                break
            stays = (~leaves).nonzero()[:, 0]
            if bool(leaves.any()):
                flat, features = rows_of(flat, stays, len(rows)), features[stays]
                before = None if before is None else before[stays]
            rows = rows[stays]
        else:
            logits.append(self._stages[-1](features, flat))
            order.append(rows)
        return torch.cat(logits)[torch.cat(order).argsort()], taken
