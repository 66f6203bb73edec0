"""The contract of a kind of confidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

__all__ = ["Confidence", "ExitNodes", "Seen"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What an exit knows of the inputs that reach it.

    Attributes:
        logits: Of its head, (N, classes).
        scorer: Linear layer of a learned score, from sorted logarithms of probabilities to one number; None where none
            was trained.
        before: What the same kind carried from the exit before, (N, numbers); None at the first.
    """

    logits: Tensor
    scorer: nn.Linear | None = None
    before: Tensor | None = None


@dataclass(frozen=True)
class ExitNodes:
    """The same in an ONNX graph of a batch of one: names of values there.

    Attributes:
        logits: (1, classes).
        result: What the confidence, float32 (1,), is to be called; names of values in between begin with it.
        scorer: Weights and bias of the learned score; empty where none was trained.
        before: The value that the kind carried from the exit before; empty at the first.
    """

    logits: str
    result: str
    scorer: tuple[float, ...] = ()
    before: str = ""


class Confidence(ABC):
    """A number in [0, 1] for every input at an exit; NaN where a logit is not finite, so that it never leaves.

    Attributes:
        name: What settings and files call it.
        carries: Numbers that an exit hands to the next one; 0 where each exit is judged by itself.
        learns: Whether it needs a trained scorer.
    """

    name: ClassVar[str]
    carries: ClassVar[int] = 0
    learns: ClassVar[bool] = False

    @abstractmethod
    def of(self, seen: Seen) -> Tensor:
        """The confidence, (N,)."""

    @abstractmethod
    def nodes(self, at: ExitNodes) -> list[Any]:
        """ONNX nodes that leave it."""

    def carried(self, seen: Seen) -> Tensor | None:
        """What the next exit gets, (N, carries)."""
        return None
