"""What may change in a network, and one way of changing it: plain values, without torch."""

from autoprune.space.search_space import (
    BLOCK,
    CHANNELS,
    KINDS,
    POLICY_SCHEMA,
    Decision,
    Policy,
    SearchSpace,
    checked_kinds,
    first_fault,
)

__all__ = [
    "BLOCK",
    "CHANNELS",
    "KINDS",
    "POLICY_SCHEMA",
    "Decision",
    "Policy",
    "SearchSpace",
    "checked_kinds",
    "first_fault",
]
