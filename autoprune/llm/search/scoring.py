"""How well a policy's network predicts the part of the calibration text that nothing was learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.llm.structured.judge import mean_loss
from autoprune.run.score import ScoreSpec

__all__ = ["LOSS", "WORST", "HeldOutLoss"]

LOSS = ScoreSpec("loss", "minimize", "{:.4f} nats")
"""Mean negative log-likelihood of a token: the logarithm of the perplexity."""

WORST = 100.0
"""Nats of a network that gives no finite numbers, or that no config of its class can say."""


class HeldOutLoss:
    """The score of policies.

    Args:
        networks: Makes the network of a policy.
        windows: Token ids of the held-out text, int64 (windows, tokens).

    Attributes:
        refused: Why networks could not be made, each reason once.
    """

    def __init__(self, networks: Callable[[Mapping[str, int]], nn.Module], windows: Tensor) -> None:
        self._networks, self._windows = networks, windows
        self.refused: set[str] = set()

    def __call__(self, choices: Mapping[str, int]) -> float:
        """Nats a token."""
        try:
            network = self._networks(choices)
        except InputError as error:
            self.refused.add(str(error))
            return WORST
        return min(WORST, mean_loss(network, self._windows))
