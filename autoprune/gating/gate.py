"""The gate of a block: how much an input needs it, from means of the value that flows in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError

__all__ = ["BlockGate", "straight_through"]

_HIDDEN = 16
_OPEN_AT_FIRST = 2.0  # logit of a gate that has learned nothing: about 88 % of the inputs pass


class BlockGate(nn.Module):
    """A score in (0, 1) from the means of a value's channels, or of its tokens: two small linear layers.

    Args:
        shape: Sizes of the value for one sample: (C,), (T, C) or (C, ...).
        outputs: Scores.

    Raises:
        UnsupportedModelError: If the value has no sizes.
    """

    def __init__(self, shape: Sequence[int], outputs: int = 1) -> None:
        super().__init__()
        if not shape:
            raise UnsupportedModelError("there is no gate for a value without sizes")
        self.shape = tuple(shape)
        width = shape[1] if len(shape) == 2 else shape[0]
        self.hidden, self.out = nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, outputs)
        nn.init.constant_(self.out.bias, _OPEN_AT_FIRST)

    def logits(self, features: Tensor) -> Tensor:
        """(N, outputs) from a value (N, *shape)."""
        if len(self.shape) == 2:
            features = features.mean(1)
        elif len(self.shape) > 2:
            features = features.mean(tuple(range(2, len(self.shape) + 1)))
        found: Tensor = self.out(self.hidden(features).relu())
        return found

    def forward(self, features: Tensor) -> Tensor:
        """Scores (N, outputs)."""
        return self.logits(features).sigmoid()


def straight_through(logits: Tensor, temperature: float) -> Tensor:
    """Open (1) or shut (0) at random, with the probabilities that the logits say, and the gradient of a soft choice.

    The difference of two Gumbel variables is a logistic one (Jang et al., ICLR 2017; Veit and Belongie, ECCV 2018,
    section 3.2).

    Args:
        logits: Of being open.
        temperature: Of the soft choice that gives the gradient.
    """
    uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    noisy = logits + uniform.log() - (-uniform).log1p()
    soft = (noisy / temperature).sigmoid()
    hard = (noisy > 0).to(soft)
    return hard.detach() + (soft - soft.detach())  # in this order the value is exactly 0 or 1
