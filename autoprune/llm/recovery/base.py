"""How a pruned language model is trained, and what the training leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoprune.errors import InputError

__all__ = ["Recovered", "RecoveryPlan"]

Kind = Literal["full", "lora"]


@dataclass(frozen=True)
class RecoveryPlan:
    """A training.

    Attributes:
        kind: All weights but the embeddings, zeros held; or LoRA's added matrices, merged in the end.
        steps: The most steps of the optimiser.
        batch: Windows of a step.
        length: Tokens of a window.
        rate: AdamW's learning rate at its highest; it rises over the first tenth and falls to zero.
        distillation: Share of the loss that is the divergence from the dense model's predictions, 0 to 1.
        every: Steps from one look at the held-out text to the next; there the training can be taken up again.
        patience: It stops after so many looks in a row without a better one.
        checkpointing: Whether activations are computed again for the backward pass, which saves memory.
        seed: Of the windows that are drawn.

    Raises:
        InputError: If a number cannot be meant.
    """

    kind: Kind
    steps: int = 40
    batch: int = 2
    length: int = 512
    rate: float = 2e-4
    distillation: float = 0.5
    every: int = 10
    patience: int = 3
    checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.every, self.patience) < 1 or self.length < 2:
            raise InputError("a recovery has at least one step, window, look and try, and windows of two tokens")
        if not 0 <= self.distillation <= 1:
            raise InputError(f"the share of distillation is from 0 to 1, not {self.distillation:g}")
        if not self.rate > 0:
            raise InputError(f"the learning rate is above 0, not {self.rate:g}")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0.

        >>> plan = RecoveryPlan("full", steps=40, rate=1.0)
        >>> plan.rate_at(0), plan.rate_at(3), plan.rate_at(39) < 0.03
        (0.25, 1.0, True)
        """
        rising = max(1, self.steps // 10)
        if step < rising:
            return self.rate * (step + 1) / rising
        return self.rate * (self.steps - step) / max(1, self.steps - rising)


@dataclass(frozen=True)
class Recovered:
    """How a training went.

    Attributes:
        steps: Steps taken.
        tokens: Tokens read in them.
        losses: (step, held-out loss) at every look, before the first step included.
        best: Step of the weights that are kept.
        stopped: Whether it stopped early.
    """

    steps: int
    tokens: int
    losses: tuple[tuple[int, float], ...]
    best: int
    stopped: bool
