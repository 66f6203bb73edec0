"""The optimum of a sum of curves under a budget, as a mixed-integer linear program for HiGHS.

Every decision is one-hot over its options. A term of the cost that couples decisions is linear in indicators of its
joint cells, which equalities tie to the decisions' own: with whole decisions they are whole by themselves, so products
of widths, couplings, ties and blocks need nothing of their own. Options that a term prices alike share an indicator,
and so do pairs of options, which keeps wide terms small: a concat's price depends on the sum of its inputs' widths.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from autoprune.agents.solvers.greedy_steps import Prices, greedy, refilled
from autoprune.cost.terms import Costs, Term

__all__ = ["Solution", "solve"]

_MOST_CELLS = 300_000  # joint cells of all terms; a program beyond this is not tried
_COARSER = (64, 32, 16)  # options of a decision that are left where the program with all of them is too large
_DIRECT = 512  # cells of a term of three decisions or more that are not worth merging pairs for
_CUTS = 20  # policies that the solver's tolerance let over the limit, each excluded by a cut

Variables = NDArray[np.int64]


@dataclass(frozen=True)
class Solution:
    """A policy within the limit, and what is known about better ones.

    Attributes:
        choices: Kept units by decision.
        loss: Its predicted loss.
        bound: No policy within the limit loses less than this; None where no program was solved.
        reason: Why the optimum is not proven; empty if it is.
    """

    choices: dict[str, int]
    loss: float
    bound: float | None
    reason: str = ""

    @property
    def proven(self) -> bool:
        """Whether no policy within the limit is predicted to lose less, but for the solver's tolerance of 1e-6."""
        return not self.reason

    @property
    def gap(self) -> float | None:
        """How much less the best policy could lose at most, in the score's unit; None where nothing is known."""
        return None if self.bound is None else max(0.0, self.loss - self.bound)


class _TooLargeError(Exception):
    """The program has too many cells."""


def solve(prices: Prices, limit: float, *, time_limit: float = 30.0) -> Solution:
    """The policy within the limit with the least predicted loss.

    Args:
        prices: Costs and predicted losses.
        limit: What a policy may cost at most, in the cost's unit; finite.
        time_limit: Seconds. When they are over, the best policy known is the answer, with its bound.

    Raises:
        BudgetError: If no policy meets the limit.
    """
    known = greedy(prices, limit)
    program, coarse = _fitting(prices, limit)
    if program is None:
        return Solution(known, _loss(prices, known), None, coarse)
    answer = program.within_limit(time_limit)
    bound = None if coarse else answer.bound
    reason = "; ".join(part for part in (coarse, answer.reason) if part)
    if answer.choices is not None:
        indices = refilled(prices, limit, prices.canonical(answer.choices[None])[0])  # coarse options leave room
        choices = prices.cost.space.choices(indices)
        if _loss(prices, choices) <= _loss(prices, known):  # equal but for tolerance, where it is proven
            return Solution(choices, _loss(prices, choices), bound, reason)
    return Solution(known, _loss(prices, known), bound, reason or ("" if answer.choices is not None else "no policy"))


def _fitting(prices: Prices, limit: float) -> tuple[_Program | None, str]:
    """The program with as many options as it may have, and why these are not all; None where it is always too large."""
    reason = ""
    for most in (None, *_COARSER):
        try:
            return _Program(prices, limit, most), reason and f"{reason}; solved with {most} options of each decision"
        except _TooLargeError as error:
            reason = reason or str(error)
    return None, reason


def _loss(prices: Prices, choices: dict[str, int]) -> float:
    return float(prices.curves.of(prices.cost.space.indices(choices)[None])[0])


@dataclass(frozen=True)
class _Answer:
    """What HiGHS answered: option numbers or None, the bound on the loss or None, and why it is no optimum."""

    choices: NDArray[np.int64] | None
    bound: float | None
    reason: str


@dataclass
class _Price:
    """One part of the cost in the program's variables: what is fixed, and variables with what each costs."""

    fixed: float
    variable: list[tuple[Variables, Costs]] = field(default_factory=list)


class _Program:
    """The program under construction: variables in [0, 1], of which the decisions' own are whole."""

    def __init__(self, prices: Prices, limit: float, most: int | None = None) -> None:
        self.prices = prices
        self.options = [_thinned(len(decision.options), most) for decision in prices.cost.space.decisions]
        sizes = [len(options) for options in self.options]
        self.limit = limit
        self.count = 0
        self._prices: list[_Price] = []
        self._rows: list[tuple[Variables, Costs]] = []
        self._sums: list[float] = []
        self.own = [self._new(size) for size in sizes]
        self.whole = self.count
        for own in self.own:
            self._equal(own, np.ones(len(own)), 1.0)
        for part in prices.cost.parts:
            self._prices.append(_Price(part.fixed))
            for term in part.terms:
                self._add(term, self._prices[-1])
        self._cuts: list[Variables] = []

    def _new(self, size: int) -> Variables:
        if self.count + size > _MOST_CELLS:
            raise _TooLargeError(f"the program would have more than {_MOST_CELLS:,} variables")
        self.count += size
        return np.arange(self.count - size, self.count)

    def _equal(self, variables: Variables, factors: Costs, total: float) -> None:
        self._rows.append((variables, factors))
        self._sums.append(total)

    def _add(self, term: Term, price: _Price) -> None:
        """The term's cost, in as few variables as say the same."""
        if term.table is None:
            raise _TooLargeError("a part of the cost couples more decisions than a table can hold")
        axes = [self.own[d] for d in term.scope]
        table = np.asarray(term.table, dtype=np.float64)[np.ix_(*(self.options[d] for d in term.scope))]
        for k in range(table.ndim):
            axes[k], table = self._merged_options(axes[k], table, k)
        axes, table = _without_single(axes, table)
        while table.ndim > 2 and table.size > _DIRECT:
            axes, table = self._merged_pair(axes, table)
        if table.ndim == 0:
            price.fixed += float(table)
        elif (apart := _apart(table)) is not None:
            for axis, values in zip(axes, apart, strict=True):
                price.variable.append((axis, values))
        else:
            cells = self._cells(axes, table.shape)
            price.variable.append((cells.ravel(), table.ravel()))

    def _merged_options(self, axis: Variables, table: Costs, k: int) -> tuple[Variables, Costs]:
        """One indicator for all options of an axis that are priced alike, whatever the others are."""
        lines = np.moveaxis(table, k, 0).reshape(table.shape[k], -1)
        _, first, classes = np.unique(lines, axis=0, return_index=True, return_inverse=True)
        if len(first) == len(axis):
            return axis, table
        return self._classes(axis, classes.ravel(), len(first)), np.take(table, first, axis=k)

    def _classes(self, members: Variables, classes: NDArray[np.int64], count: int) -> Variables:
        """Indicators of classes of indicators: each the sum of its members."""
        found = self._new(count)
        for number in range(count):
            mine = members[classes == number]
            self._equal(np.append(mine, found[number]), np.append(np.ones(len(mine)), -1.0), 0.0)
        return found

    def _merged_pair(self, axes: list[Variables], table: Costs) -> tuple[list[Variables], Costs]:
        """Two axes made one: the pair with the fewest different prices, such as two inputs of a concat."""
        pairs = list(itertools.combinations(range(table.ndim), 2))
        i, j = min(pairs, key=lambda pair: len(np.unique(_pair_lines(table, *pair), axis=0)))
        lines = _pair_lines(table, i, j)
        _, first, classes = np.unique(lines, axis=0, return_index=True, return_inverse=True)
        cells = self._cells([axes[i], axes[j]], (table.shape[i], table.shape[j]))
        merged = self._classes(cells.ravel(), classes.ravel(), len(first))
        rest = [axis for k, axis in enumerate(axes) if k not in (i, j)]
        shape = [size for k, size in enumerate(table.shape) if k not in (i, j)]
        return [merged, *rest], lines[first].reshape([len(first), *shape])

    def _cells(self, axes: list[Variables], shape: tuple[int, ...]) -> Variables:
        """Indicators of all joint cells of some axes; summed over the other axes, they are each axis's own."""
        cells = self._new(int(np.prod(shape))).reshape(shape)
        for k, axis in enumerate(axes):
            for option, variable in enumerate(axis):
                line = np.take(cells, option, axis=k).ravel()
                self._equal(np.append(line, variable), np.append(np.ones(len(line)), -1.0), 0.0)
        return cells

    def exclude(self, indices: NDArray[np.int64]) -> None:
        """Leave one policy out: it meets the limit only within the solver's tolerance."""
        places = [int(np.searchsorted(options, i)) for options, i in zip(self.options, indices.tolist(), strict=True)]
        self._cuts.append(np.array([own[place] for own, place in zip(self.own, places, strict=True)]))

    def within_limit(self, time_limit: float) -> _Answer:
        """The answer whose policy meets the limit as it is priced, not only within the solver's tolerance."""
        for _ in range(_CUTS):
            answer = self.solve(time_limit)
            if answer.choices is None:
                return answer
            indices = self.prices.canonical(answer.choices[None])
            if float(self.prices.cost.costs(indices)[0]) <= self.limit:
                return answer
            self.exclude(answer.choices)
        return _Answer(None, None, "policies at the very limit were not told apart")

    def solve(self, time_limit: float) -> _Answer:
        """Solve it as it stands."""
        whole = zip(self.prices.curves.losses, self.options, strict=True)
        losses = [each[options] for each, options in whole]
        scale = max(1e-12, max(float(np.max(each)) for each in losses))
        goal = np.zeros(self.count)
        goal[: self.whole] = np.concatenate(losses) / scale
        integrality = np.zeros(self.count)
        integrality[: self.whole] = 1
        result = milp(
            goal,
            integrality=integrality,
            bounds=Bounds(0, 1),
            constraints=self._constraints(),
            options={"time_limit": time_limit, "mip_rel_gap": 0.0},
        )
        bound = getattr(result, "mip_dual_bound", None)
        known = None if bound is None or not np.isfinite(bound) else float(bound) * scale
        reason = "" if result.status == 0 else f"the solver stopped: {' '.join(str(result.message).split())[:120]}"
        if result.x is None:
            return _Answer(None, known, reason)
        places = [int(np.argmax(result.x[own])) for own in self.own]
        return _Answer(np.array([o[place] for o, place in zip(self.options, places, strict=True)]), known, reason)

    def _constraints(self) -> list[LinearConstraint]:
        equal = LinearConstraint(_matrix(self._rows, self.count), np.array(self._sums), np.array(self._sums))
        budgets = [self._budget(price) for price in self._prices]
        cuts = [LinearConstraint(_matrix([(cut, np.ones(len(cut)))], self.count), -np.inf, len(cut) - 1.0)
                for cut in self._cuts]  # fmt: skip
        return [equal, *budgets, *cuts]

    def _budget(self, price: _Price) -> LinearConstraint:
        """What one part of the cost may come to, in shares of the limit."""
        unit = max(abs(self.limit), 1e-300)
        row = np.zeros(self.count)
        for variables, values in price.variable:
            np.add.at(row, variables, values / unit)
        return LinearConstraint(row[None], -np.inf, (self.limit - price.fixed) / unit)


def _thinned(size: int, most: int | None) -> NDArray[np.int64]:
    """Numbers of at most so many options, evenly spread, least and last among them."""
    if most is None or size <= most:
        return np.arange(size)
    return np.unique(np.linspace(0, size - 1, most).round().astype(np.int64))


def _pair_lines(table: Costs, i: int, j: int) -> Costs:
    """A row for every pair of options of two axes: prices over all others."""
    return np.moveaxis(table, (i, j), (0, 1)).reshape(table.shape[i] * table.shape[j], -1)


def _without_single(axes: list[Variables], table: Costs) -> tuple[list[Variables], Costs]:
    """The same without axes of one option, which change nothing."""
    kept = [axis for axis, size in zip(axes, table.shape, strict=True) if size > 1]
    return kept, table.reshape([size for size in table.shape if size > 1])


def _apart(table: Costs) -> list[Costs] | None:
    """A row of values for every axis whose sums are the table; None where the axes act together."""
    corner = table[(0,) * table.ndim]
    parts, total = [], np.full(table.shape, corner)
    for k in range(table.ndim):
        line = table[tuple(slice(None) if each == k else 0 for each in range(table.ndim))]
        parts.append(line - corner)
        total = total + parts[-1].reshape([-1 if each == k else 1 for each in range(table.ndim)])
    parts[0] = parts[0] + corner  # the indicators of an axis add up to one
    return parts if np.allclose(total, table, rtol=1e-13, atol=0.0) else None


def _matrix(rows: list[tuple[Variables, Costs]], columns: int) -> coo_array:
    number = np.repeat(np.arange(len(rows)), [len(variables) for variables, _ in rows])
    place = np.concatenate([variables for variables, _ in rows])
    values = np.concatenate([factors for _, factors in rows])
    return coo_array((values, (number, place)), shape=(len(rows), columns)).tocsc()
