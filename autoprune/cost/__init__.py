"""Cost models: what a policy costs in multiply-accumulates, parameters, milliseconds; and the wall at a limit."""

from autoprune.cost.additive import AdditiveCost, Step
from autoprune.cost.terms import CostEntry
from autoprune.cost.wall import Accounting, Wall

__all__ = ["Accounting", "AdditiveCost", "CostEntry", "Step", "Wall"]
