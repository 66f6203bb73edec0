"""What may change in a network, and one way of changing it: plain values, without torch.

A `Decision` is something that may shrink, of a `DecisionKind`; a `SearchSpace` is every decision of a model in forward
order; a `Policy` is a choice for every decision; `SpaceConstraints` are what a user wants of a space.
"""

from autoprune.space.constraints import SpaceConstraints
from autoprune.space.decision import Decision
from autoprune.space.kinds import (
    BITS,
    BLOCK,
    CHANNELS,
    EXIT,
    KEPT,
    KINDS,
    NM,
    STRUCTURED,
    ZEROS,
    DecisionKind,
    Stage,
    checked_kinds,
)
from autoprune.space.policy import MANY_SCHEMA, POLICY_SCHEMA, Policy, TechniquePart, first_fault
from autoprune.space.search_space import SearchSpace

__all__ = [
    "BITS",
    "BLOCK",
    "CHANNELS",
    "EXIT",
    "KEPT",
    "KINDS",
    "MANY_SCHEMA",
    "NM",
    "POLICY_SCHEMA",
    "STRUCTURED",
    "ZEROS",
    "Decision",
    "DecisionKind",
    "Policy",
    "SearchSpace",
    "SpaceConstraints",
    "Stage",
    "TechniquePart",
    "checked_kinds",
    "first_fault",
]
