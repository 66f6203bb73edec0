"""What is made small on a chip: time, energy, or their product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoprune.cost.terms import Costs

__all__ = ["OBJECTIVES", "Objective"]


@dataclass(frozen=True)
class Objective:
    """One figure of a call.

    Attributes:
        name: What users call it.
        unit: For people.
        of: Milliseconds and millijoules, of one shape, to the figure.
        units: What may stand behind an amount, in lower case -> its size in `unit`.
        reads_energy: Whether energy matters to it.
        is_sum: Whether the figure of a network is the sum of its layers'.
    """

    name: str
    unit: str
    of: Callable[[Costs, Costs], Costs]
    units: Mapping[str, float]
    reads_energy: bool = True
    is_sum: bool = True


def _time(ms: Costs, mj: Costs) -> Costs:
    return ms


def _energy(ms: Costs, mj: Costs) -> Costs:
    return mj


def _product(ms: Costs, mj: Costs) -> Costs:
    return ms * mj


OBJECTIVES: Mapping[str, Objective] = {
    "latency": Objective("latency", "ms", _time, {"ms": 1.0, "us": 1e-3, "s": 1e3}, reads_energy=False),
    "energy": Objective("energy", "mJ", _energy, {"mj": 1.0, "uj": 1e-3, "j": 1e3}),
    "edp": Objective("edp", "mJ ms", _product, {"mjms": 1.0, "ujms": 1e-3}, is_sum=False),
}
"""By name."""
