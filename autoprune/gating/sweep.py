"""One threshold for all gates: what each of a few does to accuracy and time, and which keeps the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoprune.dynamic_networks.thresholds import NEVER, Choice, Floats, Limits, loss_bound
from autoprune.errors import InputError

__all__ = ["LEVELS", "GateTimes", "Split", "Sweep", "choices_at", "swept"]

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, NEVER)
"""Thresholds: at the first all gates are open, at the last all are shut."""

_ALL = 0.99  # of the inputs on one path: such a network is a static one


@dataclass(frozen=True)
class GateTimes:
    """What gates cost and what skipping saves, as measured.

    Attributes:
        dense: Milliseconds of the network without gates.
        opened: With all gates open: the longest path.
        without: With one gate shut and the others open, a time for each.
        shut: With all gates shut: the shortest path.
    """

    dense: float
    opened: float
    without: tuple[float, ...]
    shut: float

    @property
    def least(self) -> float:
        """The shortest path of all."""
        return self.shut

    @property
    def least_worst(self) -> float:
        """The least that a longest path can take: one gate is paid."""
        return self.dense + self.a_gate

    def only(self, gates: Sequence[int], dropped: Sequence[int] = ()) -> GateTimes:
        """Of a network with some of the gates, which never computes some of the other blocks.

        A block that is left out takes the share of the dense network's time that it takes of the one with all gates.
        """
        saved = self.saved
        left = 1 - float(sum(saved[each] for each in dropped)) / self.opened
        opened = self.dense * left + len(gates) * self.a_gate
        without = tuple(opened - float(saved[each]) for each in gates)
        return GateTimes(self.dense, opened, without, opened - float(sum(saved[each] for each in gates)))

    @property
    def saved(self) -> Floats:
        """What skipping each block saves; the sum is that of all gates shut."""
        each = np.maximum(self.opened - np.array(self.without), 0)
        whole = max(self.opened - self.shut, 0.0)
        total = float(each.sum())
        found: Floats = each * (whole / total) if total else each
        return found

    @property
    def a_gate(self) -> float:
        """What a gate costs, whatever it decides."""
        return max(0.0, self.opened - self.dense) / max(1, len(self.without))

    @property
    def break_even(self) -> tuple[float | None, ...]:
        """The share of inputs that has to skip each block for its gate to pay; None where no share does."""
        saved = self.saved.tolist()
        return tuple(self.a_gate / each if each > self.a_gate else None for each in saved)

    def of(self, opened: NDArray[np.bool_]) -> Floats:
        """Milliseconds of inputs that compute these blocks, bool (inputs, blocks)."""
        found: Floats = self.opened - (~opened) @ self.saved
        return found


@dataclass(frozen=True)
class Split:
    """What gates do at a threshold, by their numbers.

    Attributes:
        live: Open for some of the search split's inputs, and shut for others.
        dropped: Open for none: these blocks are left out. The others are open for all, and have no gate.
    """

    live: tuple[int, ...]
    dropped: tuple[int, ...]

    @classmethod
    def of(cls, opened: NDArray[np.bool_]) -> Split:
        """Of the search split, bool (inputs, gates)."""
        some, every = opened.any(0), opened.all(0)
        live, dropped = np.flatnonzero(some & ~every), np.flatnonzero(~some)
        return cls(tuple(live.tolist()), tuple(dropped.tolist()))


@dataclass(frozen=True, eq=False)
class Sweep:
    """What the network does to the inputs of a split at every threshold.

    Attributes:
        levels: The thresholds.
        right: Whether each answer is right, bool (levels, inputs).
        opened: Which blocks are computed, bool (levels, inputs, blocks).
        dense: Whether the dense network's answer is right, bool (inputs,).
        labels: int64 (inputs,).
    """

    levels: tuple[float, ...]
    right: NDArray[np.bool_]
    opened: NDArray[np.bool_]
    dense: NDArray[np.bool_]
    labels: NDArray[np.int64]

    def at(self, threshold: float) -> int:
        """The number of a threshold."""
        return self.levels.index(threshold)


Answer = Callable[[Any, float], tuple[torch.Tensor, torch.Tensor]]
"""A batch and a threshold -> logits (N, classes) and computed blocks (N, blocks)."""


def swept(batches: Iterable[Any], answer: Answer, whole: Callable[[Any], tuple[Any, Any]]) -> Sweep:
    """Run a split through the network at every threshold; it is read once.

    Args:
        batches: With labels.
        answer: The network with gates.
        whole: A batch -> the dense network's logits and the classes.

    Raises:
        InputError: If there are no samples.
    """
    right, opened, dense, classes = [], [], [], []
    with torch.no_grad():
        for batch in batches:
            logits, labels = whole(batch)
            found = [answer(batch, level) for level in LEVELS]
            dense.append(logits.argmax(1) == labels)
            classes.append(labels)
            right.append(torch.stack([each.argmax(1) == labels for each, _ in found]))
            opened.append(torch.stack([each for _, each in found]))
    if not right:
        raise InputError("there are no samples to choose thresholds on; the loader is empty, or was used up")
    return Sweep(
        LEVELS,
        torch.cat(right, 1).numpy(),
        torch.cat(opened, 1).numpy(),
        torch.cat(dense).numpy(),
        torch.cat(classes).numpy().astype(np.int64),
    )


def choices_at(sweep: Sweep, times: GateTimes, limits: Limits) -> Iterator[Choice]:
    """The thresholds that keep the limits; a network of which all inputs take one path is none.

    Args:
        sweep: Of the search split.
        times: As measured, of all gates.
        limits: What is to be kept.
    """
    inputs = len(sweep.dense)
    for level, right, opened in zip(sweep.levels, sweep.right, sweep.opened, strict=True):
        split = Split.of(opened)
        mine, own = opened[:, list(split.live)], times.only(split.live, split.dropped)
        lost, gained = int((sweep.dense & ~right).sum()), int((~sweep.dense & right).sum())
        bound = float(loss_bound(lost, gained, inputs))
        if bound > limits.loss or not split.live or _commonest(mine) > _ALL:
            continue
        ms = own.of(mine)
        if own.opened <= limits.worst and (limits.p95 is None or float((ms > limits.p95).mean()) <= 0.05):
            levels = (level,) * len(split.live)
            loss, mean = (lost - gained) / inputs, float(ms.mean())
            yield Choice(split.live, "gate", levels, _weights(mine, own), mean, loss, bound)


def _commonest(opened: NDArray[np.bool_]) -> float:
    """The share of inputs on the path that most take."""
    counts = np.unique(opened, axis=0, return_counts=True)[1]
    return float(counts.max() / len(opened))


def _weights(opened: NDArray[np.bool_], times: GateTimes) -> tuple[float, ...]:
    """How much the time of each timed path counts in the mean: all open, one gate shut each, all shut."""
    skipped: Sequence[float] = (1 - opened.mean(0)).tolist()
    saved = times.saved
    each = np.maximum(times.opened - np.array(times.without), 0)
    scale = saved.sum() / each.sum() if each.sum() else 0.0
    single = [share * float(scale) for share in skipped]
    return (1 - sum(single), *single, 0.0)
