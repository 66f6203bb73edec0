"""Expected latency of a network with exits: every part of its time, weighted by the share of inputs that reaches it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.terms import CostEntry, Costs, Widths
from autoprune.space import EXIT, Decision, SearchSpace

__all__ = ["PlannedExit", "expected_cost", "stage_costs", "with_exits"]

_CONSTANT = "constant"
"""The entry of what a call takes whatever is computed (`autoprune.hardware.tables.pricing.latency_cost`)."""


@dataclass(frozen=True)
class PlannedExit:
    """An exit that may stand at a place.

    Attributes:
        name: Of its decision; 0 where it stands, 1 where everything passes.
        after: Entries of the network's cost that are paid before it, in forward order.
        passes: The share of inputs that goes on where it stands alone.
        leaves_ms: What its head and decision take of an input that leaves there.
        passed_ms: What it adds to an input that goes on.
    """

    name: str
    after: int
    passes: float
    leaves_ms: float
    passed_ms: float

    @property
    def decision(self) -> Decision:
        """Whether it stands."""
        return Decision(self.name, 1, (0, 1), EXIT.name)


def with_exits(space: SearchSpace, cost: AdditiveCost, exits: Sequence[PlannedExit]) -> SearchSpace:
    """The space of widths and exits together, each exit behind the widths that are decided on before it.

    Args:
        space: Of the widths.
        cost: Of the network without exits.
        exits: In forward order.
    """
    number = {name: place for place, name in enumerate(space.names)}
    found: list[Decision] = []
    done = 0
    for each in exits:
        known = [number[name] for entry in cost.entries[: each.after] for name in entry.scope]
        until = max([done, *(place + 1 for place in known)])
        found += [*space.decisions[done:until], each.decision]
        done = until
    return replace(space, decisions=(*found, *space.decisions[done:]))


def expected_cost(cost: AdditiveCost, space: SearchSpace, exits: Sequence[PlannedExit]) -> AdditiveCost:
    """Expected milliseconds of one call, as a sum: what searches on widths alone use works on it unchanged.

    What lies behind exits is weighted by the smallest share that passes one of them: the inputs that are easy to one
    exit are easy to the next. The shares are those of the dense network; the thresholds of a candidate are solved
    exactly, so that this cost plans and does not judge.

    Args:
        cost: Of the network without exits.
        space: As `with_exits` gives it.
        exits: In forward order.
    """
    entries = []
    for number, entry in enumerate(cost.entries):
        before = tuple(each for each in exits if each.after <= number and entry.name != _CONSTANT)
        entries.append(replace(entry, scope=(*entry.scope, *_names(before)), price=_Reached(entry, before)))
    for number, each in enumerate(exits):
        before = tuple(exits[:number])
        entries.append(CostEntry(f"exit {each.name}", (each.name, *_names(before)), _Standing(each, before)))
    return AdditiveCost(cost.kind, cost.unit, space, entries)


def stage_costs(cost: AdditiveCost, exits: Sequence[PlannedExit]) -> tuple[AdditiveCost, ...]:
    """What a policy of widths takes between exits, one more than there are exits; a constant is paid at once."""
    ends = [0, *(each.after for each in exits), len(cost.entries)]
    fixed = [entry for entry in cost.entries if entry.name == _CONSTANT]
    found = []
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        mine = [entry for entry in cost.entries[start:end] if entry not in fixed]
        found.append(AdditiveCost(cost.kind, cost.unit, cost.space, [*mine, *(fixed if number == 0 else [])]))
    return tuple(found)


def _names(exits: Sequence[PlannedExit]) -> tuple[str, ...]:
    return tuple(each.name for each in exits)


def _reach(kept: Widths, before: Sequence[PlannedExit]) -> Costs:
    """The share that comes so far, by which of the exits before stand, (n, exits) to (n,)."""
    shares = np.array([each.passes for each in before])
    found: Costs = np.where(kept == 0, shares, 1.0).min(1, initial=1.0)
    return found


@dataclass(frozen=True)
class _Reached:
    """The price of an entry, weighted."""

    entry: CostEntry
    before: tuple[PlannedExit, ...]

    def __call__(self, kept: Widths) -> Costs:
        own = len(self.entry.scope)
        return self.entry.price(kept[:, :own]) * _reach(kept[:, own:], self.before)


@dataclass(frozen=True)
class _Standing:
    """What an exit adds where it stands: to those who leave, and to those who go on."""

    at: PlannedExit
    before: tuple[PlannedExit, ...]

    def __call__(self, kept: Widths) -> Costs:
        reach = _reach(kept[:, 1:], self.before)
        goes_on = np.minimum(reach, self.at.passes)
        paid = (reach - goes_on) * self.at.leaves_ms + goes_on * self.at.passed_ms
        return np.where(kept[:, 0] == 0, paid, 0.0)
