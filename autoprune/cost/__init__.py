"""Cost models: what a policy costs, in multiply-accumulates, parameters or milliseconds; what a limit leaves feasible.

`Wall` is an older name of `FeasibleActions`.
"""

from autoprune.cost.action_mask import Accounting, FeasibleActions
from autoprune.cost.additive import AdditiveCost, Step
from autoprune.cost.base import CostModel
from autoprune.cost.joint import JointCost, Limited
from autoprune.cost.terms import CostEntry

__all__ = [
    "Accounting",
    "AdditiveCost",
    "CostEntry",
    "CostModel",
    "FeasibleActions",
    "JointCost",
    "Limited",
    "Step",
    "Wall",
]

Wall = FeasibleActions
