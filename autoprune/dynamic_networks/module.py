"""What every dynamic network has in torch: a call like the network's own, the paths taken so far, a warning."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.drift import WINDOW, Drift
from autoprune.dynamic_networks.flow import Flow
from autoprune.errors import InputError
from autoprune.models.inputs.example import Example

__all__ = ["DynamicModule", "rows_of"]


class DynamicModule(nn.Module):
    """A network in which each input takes a path of its own, called as the network itself.

    Each row of a batch gets the answer that it gets alone.

    Args:
        flow: The dense network; its parameters are shared.
        paths: How many an input can take.
        expected: Number of the search split's inputs on each path; empty where nothing is expected.

    Attributes:
        counts: How many inputs took each path so far.
        drift: Compares the paths taken of late with the expected ones, and warns; None where nothing is expected.

    Raises:
        InputError: If the expected numbers are not as many as the paths.
    """

    def __init__(self, flow: Flow, paths: int, expected: Sequence[int] = ()) -> None:
        super().__init__()
        self._flow = flow
        self.counts = [0] * paths
        if len(expected) not in (0, paths):
            raise InputError(f"there are {paths} paths: give a number of inputs for each, not {len(expected)}")
        self.drift = Drift(expected) if expected else None

    @property
    def flow(self) -> Flow:
        """The dense network's graph."""
        return self._flow

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Logits (N, classes)."""
        return self.answers(*args, **kwargs)[0]

    def answers(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and the path that each row took, int64 (N,)."""
        call = Example(args, kwargs)
        flat = self._flow.flat(call)
        samples = call.batch
        if self._flow.one_by_one and samples > 1:
            rows = [self._run(rows_of(flat, torch.tensor([row]), samples), 1) for row in range(samples)]
            logits, taken = (torch.cat(parts) for parts in zip(*rows, strict=True))
        else:
            logits, taken = self._run(flat, samples)
        self._counted(taken.tolist())
        return logits, taken

    def path(self, tensors: Sequence[Tensor]) -> int:
        """The path of one input, which is not counted.

        Args:
            tensors: As a file of the network takes them, (1, ...) each.
        """
        given = iter(tensors)
        flat = [next(given) if isinstance(each, Tensor) else each for each in self._flow.flat(self._flow.example)]
        with torch.no_grad():
            return int(self._run(flat, 1)[1])

    @abstractmethod
    def _run(self, flat: Sequence[Any], samples: int) -> tuple[Tensor, Tensor]:
        """Logits and paths of a call whose inputs are given in the order of the graph's."""

    def _counted(self, taken: Sequence[int]) -> None:
        for number in taken:
            self.counts[number] += 1
        if self.drift is not None and self.drift.add(taken):
            warnings.warn(
                f"the last {WINDOW} inputs do not leave where the search split's did; the promised accuracy is for"
                " inputs like those (`network.drift`)",
                stacklevel=3,
            )


def rows_of(flat: Sequence[Any], rows: Tensor, samples: int) -> tuple[Any, ...]:
    """Some rows of every input that has one for each sample."""
    return tuple(
        each[rows] if isinstance(each, Tensor) and each.dim() and each.shape[0] == samples else each for each in flat
    )
