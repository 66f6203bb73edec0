"""Energy of one inference as a cost: modelled from counts where the machine has no sensor, else fitted on measurements.

The model is linear in what an operator does (Horowitz, "Computing's energy problem", ISSCC 2014; the form is the one
that accelerator simulators come to as well):

    E = sum over operators of  e_mac * MACs + e_weight * weight bytes + e_input * input bytes + e_output * output bytes
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.cost._products import ProductPrice, product_price
from autoprune.cost.additive import AdditiveCost
from autoprune.cost.least_squares import fit_factors
from autoprune.cost.macs import mac_dimensions
from autoprune.cost.terms import CostEntry
from autoprune.errors import AutopruneError, InputError
from autoprune.graph import Analysis, Extent, Op, tied
from autoprune.graph.operators import WEIGHTED, executed
from autoprune.space import SearchSpace

__all__ = [
    "CLASSES",
    "MODELLED",
    "Coefficients",
    "EnergyCost",
    "energy_cost",
    "energy_of",
    "fit_energy",
    "require_energy",
]

CLASSES = ("macs", "weight_bytes", "input_bytes", "output_bytes")
"""What energy is linear in."""

MODELLED = "modelled (45 nm, Horowitz 2014)"
"""The label of energies that no sensor has seen."""

_FITTED = "measured"  # how the label of coefficients begins that were fitted on a sensor's figures

_LEAST_RUNS = 8  # fewer end-to-end runs leave the four factors to chance
_INSIDE = ("batch_norm", "relu")  # kinds that the literature's device executes inside the operator before them


@dataclass(frozen=True)
class Coefficients:
    """What one count of each class costs.

    Attributes:
        macs: Picojoules a multiply-accumulate.
        weight_bytes: Picojoules for a byte of weights.
        input_bytes: Picojoules for a byte of an activation that is read.
        output_bytes: Picojoules for a byte of an activation that is written.
        number: Bytes of one number.
        constant: Millijoules that no decision changes.
        label: Where they come from: `modelled (...)` or `measured (...)`.
    """

    macs: float
    weight_bytes: float
    input_bytes: float
    output_bytes: float
    number: int = 4
    constant: float = 0.0
    label: str = MODELLED

    def __post_init__(self) -> None:
        values = (*self.vector, self.constant)
        if not all(np.isfinite(value) and value >= 0 for value in values):  # not a number fails too
            raise InputError(f"coefficients of energy must be numbers from 0 up, not {values}")

    @property
    def vector(self) -> tuple[float, ...]:
        """Picojoules a count, in the order of `CLASSES`."""
        return tuple(float(getattr(self, name)) for name in CLASSES)

    @classmethod
    def modelled(cls, precision: str = "f32") -> Coefficients:
        """The coefficients of the literature, in a process of 45 nm at 0.9 V.

        Arithmetic: a multiplication and an addition of floating-point numbers, 3.7 + 0.9 pJ in 32 bits and 1.1 + 0.4
        in 16. A 64-bit access to DRAM takes 1300 pJ (the lower of the two values given), to a cache of 1 MB 100 pJ:
        weights come from DRAM once an inference, activations stay in the cache.

        Args:
            precision: Number format: `f32`, `bf16` or `f16`.
        """
        arithmetic, number = (4.6, 4) if precision == "f32" else (1.5, 2)
        return cls(arithmetic, 1300 / 8, 100 / 8, 100 / 8, number)


class EnergyCost(AdditiveCost):
    """Millijoules of one inference; a sum of entries as every additive cost.

    Attributes:
        coefficients: What it was computed with; their label says whether it was modelled or measured.
        fused: The operators that were counted as executed inside others; see `energy_cost`.
    """

    def __init__(
        self,
        space: SearchSpace,
        entries: Sequence[CostEntry],
        coefficients: Coefficients,
        fused: Collection[str] | None = None,
    ) -> None:
        super().__init__("energy", "mJ", space, entries)
        self.coefficients = coefficients
        self.fused = fused

    @property
    def measured(self) -> bool:
        """Whether it is based on a sensor: its coefficients were fitted on what that said of other networks."""
        return self.coefficients.label.startswith(_FITTED)

    @property
    def label(self) -> str:
        """Where the coefficients come from."""
        return self.coefficients.label

    @property
    def label_of_prediction(self) -> str:
        """What a figure of this cost is called: no sensor has seen the network itself."""
        return f"modelled (fitted on {self.label.removeprefix(f'{_FITTED} (')}" if self.measured else self.label


@dataclass(frozen=True)
class Scaled:
    """A product of widths times what one count costs; a `CostEntry.price`, picklable."""

    count: ProductPrice
    factor: float

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kept units, shape (n, len(scope)), to millijoules, shape (n,)."""
        return self.count(kept) * self.factor


def energy_cost(
    analysis: Analysis,
    space: SearchSpace,
    coefficients: Coefficients | None = None,
    *,
    batch: int = 1,
    fused: Collection[str] | None = None,
) -> EnergyCost:
    """Energy of one call as a cost; exact for every policy, given the coefficients.

    Args:
        analysis: The model's operators.
        space: The decisions; groups that are none of them have their dense width.
        coefficients: What a count costs; those of the literature, in float32, when None.
        batch: Inputs in one call; weights are read once a call.
        fused: Names of the ATen operators that the device executes inside the weighted operator before them, where no
            data moves: a target's `fused`. None is the device of the literature: every batch norm and elementwise
            function, wherever it is.
    """
    coefficients = coefficients or Coefficients.modelled()
    vector = dict(zip(CLASSES, coefficients.vector, strict=True))
    analysis = tied(analysis, space.ties)
    fixed = {group.name: group.width for group in analysis.groups if group.name not in space.names}
    entries = [CostEntry("constant", (), Scaled(ProductPrice(1), coefficients.constant))]
    for op, what, dimensions in _counts(analysis, fused, batch, coefficients.number):
        scope, price = product_price(dimensions, space.names, fixed, analysis.enclosing_blocks(op.node))
        entries.append(CostEntry(f"{op.name} {what}", scope, Scaled(price, vector[what] * 1e-9)))
    return EnergyCost(space, entries, coefficients, fused)


def energy_of(
    analysis: Analysis, coefficients: Coefficients, batch: int, fused: Collection[str] | None = None
) -> float:
    """Modelled millijoules of one call of a network that was analysed as it is; see `energy_cost`."""
    return energy_cost(analysis, SearchSpace(()), coefficients, batch=batch, fused=fused).dense


def require_energy(cost: AdditiveCost) -> EnergyCost:
    """The same cost, which must be one of energy.

    Raises:
        AutopruneError: If it is another.
    """
    if not isinstance(cost, EnergyCost):
        raise AutopruneError(f"a cost of {cost.kind} where energy is expected")
    return cost


def fit_energy(
    analysis: Analysis,
    space: SearchSpace,
    runs: Sequence[tuple[Mapping[str, int], float]],
    source: str,
    *,
    coefficients: Coefficients | None = None,
    batch: int = 1,
    fused: Collection[str] | None = None,
) -> EnergyCost:
    """The same cost with its coefficients fitted on networks whose energy was measured.

    As for latency: a factor from 0 up for every class and a constant, by least squares of the relative error, with a
    weak wish that a class keep its proportion to the others.

    Args:
        analysis: The model's operators.
        space: The decisions.
        runs: Policies (as choices) and measured millijoules of one call.
        source: The sensor, such as `RAPL`.
        coefficients: The proportions to begin with; those of the literature when None.
        batch: Inputs in one call.
        fused: What the device executes inside other operators; see `energy_cost`.

    Raises:
        InputError: If there are fewer than 8 runs, or an energy is not positive.
    """
    if len(runs) < _LEAST_RUNS:
        raise InputError(f"energy is fitted on at least {_LEAST_RUNS} networks, not {len(runs)}")
    measured = np.array([energy for _, energy in runs], dtype=np.float64)
    if not np.all(np.isfinite(measured) & (measured > 0)):
        raise InputError(f"measured energies must be positive: {sorted(measured)[:3]} mJ")
    start = coefficients or Coefficients.modelled()
    alone = [_only(start, what) for what in CLASSES]
    costs = [energy_cost(analysis, space, each, batch=batch, fused=fused) for each in alone]
    classes = np.array([[cost.cost(choices) for cost in costs] for choices, _ in runs])
    scale = float(np.median(measured / classes.sum(axis=1)))  # from the model's technology to this machine's
    factors = fit_factors(classes * scale, measured)
    changed = {what: getattr(start, what) * scale * f for what, f in zip(CLASSES, factors[:-1], strict=True)}
    fitted = replace(start, **changed, constant=float(factors[-1]), label=f"{_FITTED} ({source})")
    return energy_cost(analysis, space, fitted, batch=batch, fused=fused)


def _only(coefficients: Coefficients, what: str) -> Coefficients:
    """The coefficients with which only one class of counts costs anything."""
    others: dict[str, Any] = {name: 0.0 for name in CLASSES if name != what}
    return replace(coefficients, **others, constant=0.0)


def _counts(
    analysis: Analysis, fused: Collection[str] | None, batch: int, number: int
) -> Iterator[tuple[Op, str, list[Extent | int]]]:
    """(operator, class, dimensions whose product is the count) of everything that costs energy."""
    if fused is None:
        ops: Iterable[Op] = (op for op in executed(analysis.ops, ()) if op.kind not in _INSIDE)
    else:
        ops = executed(analysis.ops, fused)
    for op in ops:
        if op.kind in WEIGHTED and op.params:
            yield op, "macs", [batch, *mac_dimensions(op)]
            for shape in op.params:
                yield op, "weight_bytes", [number, *shape]
        for shape in op.inputs:
            yield op, "input_bytes", [batch, number, *shape]
        yield op, "output_bytes", [batch, number, *op.output]
