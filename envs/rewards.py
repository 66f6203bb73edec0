"""What an episode is worth: small objects, given to the environment."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from autoprune.cost import CostModel
from autoprune.errors import InputError

__all__ = ["AccuracyGuaranteed", "RelativeToDense", "ResourceConstrained", "Reward"]


class Reward(ABC):
    """The reward at the end of an episode; before the end it is 0."""

    @abstractmethod
    def __call__(self, merit: float, cost: float) -> float:
        """The reward of a policy.

        Args:
            merit: Of the pruned network on the search split, the larger, the better: accuracy as a fraction, or
                `ScoreSpec.merit` of another score.
            cost: What the policy costs, in the cost model's unit.
        """

    def check(self, cost: CostModel) -> None:  # noqa: B027  # most rewards accept any cost model
        """Refuse a cost model that this reward cannot be computed from.

        Raises:
            InputError: If the rewards of some policies would be meaningless.
        """


@dataclass(frozen=True)
class ResourceConstrained(Reward):
    """`-error`, for searches under a hard budget (AMC, section 3.3, `R_err`)."""

    def __call__(self, merit: float, cost: float) -> float:
        """`accuracy - 1`, whatever the cost: the action mask takes care of it."""
        return merit - 1.0


@dataclass(frozen=True)
class RelativeToDense(Reward):
    """The gain over the dense network, for searches under a hard budget by a score that is no accuracy.

    Scores have units, and the learning rates of agents do not know them: a mean square error of thousands, or a PSNR
    of 37.5 dB, becomes a number of accuracy's size.

    Attributes:
        dense: The dense network's merit.
    """

    dense: float

    def __call__(self, merit: float, cost: float) -> float:
        """`(merit - dense) / |dense|`, whatever the cost; where the dense merit is 0, `merit`."""
        return (merit - self.dense) / (abs(self.dense) or 1.0)


@dataclass(frozen=True)
class AccuracyGuaranteed(Reward):
    """`-error * log(cost)`, for searches without a budget (AMC, section 3.3, `R_FLOPs`).

    The logarithm must stay positive: with a cost below 1 (milliseconds of a small network) it is negative, and
    errors would be rewarded. So the scaled cost of every network in the search space must be above 1.

    Attributes:
        scale: Costs are multiplied by it first; 1e6 turns milliseconds into nanoseconds.
    """

    scale: float = 1.0

    def __call__(self, merit: float, cost: float) -> float:
        """`(accuracy - 1) * log(scale * cost)`."""
        return (merit - 1.0) * math.log(self.scale * cost)

    def check(self, cost: CostModel) -> None:
        """Refuse a cost whose logarithm is not positive everywhere.

        Raises:
            InputError: If some network of the search space costs 1 or less after scaling.
        """
        least = cost.least()[0] * self.scale
        if not least > 1:
            raise InputError(
                f"-error * log(cost) rewards errors where the cost is below 1, and the least here is {least:.3g}"
                f" {cost.unit}; count multiply-accumulates, or scale to nanoseconds: AccuracyGuaranteed(scale=1e6)"
            )
