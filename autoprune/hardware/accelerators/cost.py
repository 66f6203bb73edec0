"""What work costs on an accelerator: cycles, where they go, bytes moved, energy. Costs add up, and counts conserve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from autoprune.errors import AutopruneError

__all__ = ["Cost"]

_ROUNDING = 1e-6  # relative; cycles are means over activation samples, so no whole numbers


@dataclass(frozen=True)
class Cost:
    """The cost of one call: of a layer, or of several that run one after the other on the same chip.

    A lane is what can do one multiply-accumulate a cycle. Every lane is, in every cycle, either busy or stalled for one
    cause: `busy` and `stalls` add up to `cycles * lanes`, which is checked.

    Attributes:
        cycles: Of the chip's clock.
        lanes: Multiply-accumulates that the chip can do in a cycle.
        busy: Lane-cycles of useful multiply-accumulates.
        stalls: Cause -> lane-cycles lost to it.
        bytes: Level of memory -> bytes read and written there.
        energy_pj: Component -> picojoules.

    Raises:
        AutopruneError: If a count is negative, or lane-cycles were lost or invented: a fault of a template.
    """

    cycles: float
    lanes: int
    busy: float
    stalls: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, float] = field(default_factory=dict)
    energy_pj: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = [*self.stalls.values(), *self.bytes.values(), *self.energy_pj.values()]
        if not all(math.isfinite(each) and each >= -_ROUNDING for each in (self.cycles, self.busy, *parts)):
            raise AutopruneError(f"a simulated cost is negative or not finite: {self}")
        told, there = self.busy + sum(self.stalls.values()), self.cycles * self.lanes
        if not math.isclose(told, there, rel_tol=_ROUNDING, abs_tol=1e-3):
            raise AutopruneError(f"a simulated cost has {told:g} lane-cycles in {there:g}: {self}")

    @classmethod
    def nothing(cls, lanes: int) -> Cost:
        """The cost of no work."""
        return cls(0.0, lanes, 0.0)

    @classmethod
    def total(cls, costs: Iterable[Cost], lanes: int) -> Cost:
        """The sum of costs on a chip of so many lanes."""
        return reduce(lambda one, other: one + other, costs, cls.nothing(lanes))

    def __add__(self, other: Cost) -> Cost:
        if self.lanes != other.lanes:
            raise AutopruneError(f"costs of two chips are added, of {self.lanes} and of {other.lanes} lanes")
        return Cost(
            self.cycles + other.cycles,
            self.lanes,
            self.busy + other.busy,
            _added(self.stalls, other.stalls),
            _added(self.bytes, other.bytes),
            _added(self.energy_pj, other.energy_pj),
        )

    def times(self, count: float) -> Cost:
        """The same work so many times."""
        return Cost(
            self.cycles * count,
            self.lanes,
            self.busy * count,
            {cause: lost * count for cause, lost in self.stalls.items()},
            {level: moved * count for level, moved in self.bytes.items()},
            {component: energy * count for component, energy in self.energy_pj.items()},
        )

    @property
    def utilisation(self) -> float:
        """Share of the lane-cycles that were useful, in [0, 1]; 0 of no work."""
        return self.busy / (self.cycles * self.lanes) if self.cycles else 0.0

    @property
    def energy_mj(self) -> float:
        """Energy of one call in millijoules."""
        return sum(self.energy_pj.values()) * 1e-9

    def ms(self, clock_mhz: float) -> float:
        """Milliseconds of one call at a clock."""
        return self.cycles / clock_mhz * 1e-3

    def edp(self, clock_mhz: float) -> float:
        """Energy-delay product of one call in mJ ms."""
        return self.energy_mj * self.ms(clock_mhz)

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return {
            "cycles": self.cycles,
            "lanes": self.lanes,
            "busy": self.busy,
            "stalls": dict(self.stalls),
            "bytes": dict(self.bytes),
            "energy_pj": dict(self.energy_pj),
        }


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in dict.fromkeys((*one, *other))}
