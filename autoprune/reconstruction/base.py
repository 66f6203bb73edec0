"""The contract of reconstruction: giving what is left of a layer new values, so that its outputs stay what they were.

Two things repair a pruned network without training, and they are asked at different times:

* `Reconstruction` works on one layer while a technique prunes it: given the second moments of its inputs, it answers
  with values for the weights that stay (least squares, SparseGPT). A technique asks it in `apply`, once a layer, in
  forward order; what comes of it is recorded as weights, never in a policy.
* `batch_norm.reestimate_batch_norm` works on the whole network after every technique: it changes running statistics
  only, and so every candidate of a search gets it, whatever technique made it. It has no weights to solve for, and is a
  function, not a `Reconstruction`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

__all__ = ["Reconstruction"]


class Reconstruction(ABC):
    """New values for the weights of one layer that stay.

    Attributes:
        name: What users call it.
    """

    name: ClassVar[str]

    @abstractmethod
    def solve(self, weight: Tensor, gram: Tensor, keep: Tensor) -> Tensor:
        """Weights that are zero where they are not kept, and give nearly the dense layer's outputs.

        A convolution's weight comes as (out, in / groups * kernel), its inputs as the unfolded windows.

        Args:
            weight: The dense weights, (out, in).
            gram: Sum over the calibration inputs x of x x^T, (in, in).
            keep: bool (out, in): which weights stay.

        Returns:
            Shape (out, in), of `weight`'s dtype, zero where `keep` is false.
        """
