"""Mixup: a step learns from images blended in pairs (Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.models.inputs.example import Example

__all__ = ["Mixture", "Mixup"]


@dataclass(frozen=True)
class Mixture:
    """How the images of one batch are blended.

    Attributes:
        share: Of each image itself, in [0, 1]; the rest is its partner's.
        partner: int64 (N,): which image each one is blended with.
    """

    share: float
    partner: Tensor

    def blended(self, inputs: Example) -> Example:
        """The call with its images (N, ...) blended.

        Raises:
            InputError: If an input has no floating-point numbers, as tokens have none.
        """
        return inputs.map(lambda tensor: self._tensor(tensor, inputs.batch))

    def _tensor(self, tensor: Tensor, batch: int) -> Tensor:
        if tensor.dim() == 0 or tensor.shape[0] != batch:
            return tensor
        if not tensor.is_floating_point():
            raise InputError(f"--mixup blends images, and an input is {tensor.dtype}; leave it out")
        return tensor.lerp(tensor[self.partner.to(tensor.device)], 1 - self.share)


class Mixup:
    """Draws a mixture for each batch: the share from Beta(alpha, alpha), the partners from a permutation.

    Args:
        alpha: Above 0; 0.2 leaves most images nearly alone, 1 draws every share alike.
        seed: Of all draws.
    """

    def __init__(self, alpha: float, seed: int) -> None:
        self._alpha, self._draw = alpha, np.random.default_rng(seed)

    def draw(self, images: int) -> Mixture:
        """A mixture for so many images."""
        share = float(self._draw.beta(self._alpha, self._alpha))
        return Mixture(share, torch.from_numpy(self._draw.permutation(images)))
