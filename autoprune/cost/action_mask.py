"""The action mask that keeps every episode inside the budget, after rounding, on any table of costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.base import CostModel
from autoprune.cost.terms import owned_by
from autoprune.errors import BudgetError, InputError

__all__ = ["Accounting", "FeasibleActions"]


@dataclass(frozen=True)
class Accounting:
    """How the dense network's cost is divided while decisions are taken; the four add up to it at every step.

    An entry belongs to the last decision that it depends on, so that it is priced when its owner is decided.

    Attributes:
        removed: Saved by the decisions taken, in the cost's unit.
        kept: What the decided entries and the fixed part cost now.
        current: Dense cost of the entries that the next decision owns.
        rest: Dense cost of the entries that later decisions own; 0 at the last decision.
    """

    removed: float
    kept: float
    current: float
    rest: float


@dataclass(frozen=True)
class _Outlook:
    """What is known of the current decision's options; found once a decision, for it is asked for several times."""

    totals: NDArray[np.float64]
    allowed: NDArray[np.bool_]
    policies: NDArray[np.int64] | None  # completions that were found with the totals, shape (options, decisions)


class FeasibleActions:
    """Walks the decisions in order and allows only options from which the limit can still be met.

    The order of widths is not the order of costs (hardware runs 64 channels faster than 63), and a layer's cost
    depends on two decisions, so "the rest at its minimum" is no bound. So a full policy within the limit is
    kept that starts with the decisions taken, the *known policy*. An option is allowed only if some completion meets
    the limit, and that completion is the next known policy; feasibility holds by induction, on any table.

    Args:
        cost: Prices policies.
        limit: What a policy may cost at most, in the cost's unit.

    Raises:
        BudgetError: If no policy meets the limit; names the least reachable cost.
    """

    def __init__(self, cost: CostModel, limit: float) -> None:
        if not len(cost.space):
            raise InputError("nothing in this model can be pruned; `autoprune inspect` says why")
        self.cost = cost
        self._completions = cost.finishing()
        self._owned = np.stack([owned_by(part) for part in cost.parts])
        self._start = self._completions.best(np.empty(0, dtype=np.int64))
        self.reset(limit)

    def reset(self, limit: float | None = None) -> None:
        """Take back every decision.

        Args:
            limit: What the next policy may cost at most, in the cost's unit; as before if not given.

        Raises:
            BudgetError: If no policy meets the limit.
        """
        if limit is not None:
            self._set_limit(float(limit))
        self._taken: list[int] = []
        self._witness = self._start
        self._paid = np.zeros_like(self._owned)
        self._outlook: _Outlook | None = None

    def _set_limit(self, limit: float) -> None:
        least, dense = float(self.cost.costs(self._start[None])[0]), self.cost.dense
        if not least <= limit:
            raise BudgetError(self.cost.refusal(limit), least)
        self.limit = limit
        # Sums taken in another order differ in the last digits: what lies this close is priced again, exactly.
        self._border = 1e-11 * max(abs(limit), dense) if np.isfinite(limit) else 0.0

    @property
    def step(self) -> int:
        """Number of the decision to take next; equal to the number of decisions at the end."""
        return len(self._taken)

    @property
    def taken(self) -> tuple[int, ...]:
        """Option numbers of the decisions taken."""
        return tuple(self._taken)

    @property
    def known_policy(self) -> dict[str, int]:
        """Choices within the limit that start with the decisions taken; at the end, the policy itself."""
        return self.cost.space.choices(self._witness)

    def totals(self) -> NDArray[np.float64]:
        """Cost of the cheapest known completion for each option of the current decision, shape (options,).

        Where the minimum is out of reach (see `Completions`), what is known to meet the limit may be all but cheap.
        """
        return self._look().totals.copy()

    def allowed(self) -> NDArray[np.bool_]:
        """Which options of the current decision can still end within the limit, shape (options,); never none."""
        return self._look().allowed.copy()

    def _look(self) -> _Outlook:
        if self._outlook is None:
            taken = np.asarray(self._taken, dtype=np.int64)
            totals, policies = self._completions.ahead(taken, self._witness, self.limit)
            allowed = np.asarray(totals <= self.limit - self._border)
            for option in np.flatnonzero(np.abs(totals - self.limit) <= self._border):
                policy = self._completed(int(option), policies)
                allowed[option] = float(self.cost.costs(policy[None])[0]) <= self.limit
            allowed[self._witness[self.step]] = True  # priced already: the induction step
            self._outlook = _Outlook(totals, allowed, policies)
        return self._outlook

    def take(self, option: int) -> None:
        """Take the current decision.

        Args:
            option: Number of an allowed option.

        Raises:
            InputError: If the option cannot end within the limit.
        """
        d = self.step
        if not 0 <= option < len(self.cost.space.decisions[d].options) or not self._look().allowed[option]:
            raise InputError(
                f"option {option} of decision {self.cost.space.names[d]!r} leaves no way to meet the budget"
            )
        if option != self._witness[d]:
            self._witness = self._completed(option, self._look().policies)
        self._outlook = None
        self._taken.append(int(option))
        row = np.asarray(self._taken, dtype=np.int64)[None]
        for number, part in enumerate(self.cost.parts):
            self._paid[number, d] = sum(float(t.at(row, part.space)[0]) for t in part.terms if t.scope[-1] == d)

    def _completed(self, option: int, policies: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The cheapest known full policy that takes an option of the current decision."""
        if policies is not None:
            return np.asarray(policies[option])
        return self._completions.best(np.asarray([*self._taken, option], dtype=np.int64))

    @property
    def accounting(self) -> Accounting:
        """The dense cost, split by what the decisions taken have done to it; of several parts, the first's."""
        return self.accountings[0]

    @property
    def accountings(self) -> tuple[Accounting, ...]:
        """The same of every part of the cost (`CostModel.parts`)."""
        return tuple(self._accounting(number) for number in range(len(self.cost.parts)))

    def _accounting(self, number: int) -> Accounting:
        d, owned, paid = self.step, self._owned[number], self._paid[number]
        kept = self.cost.parts[number].fixed + float(paid[:d].sum())
        removed = float(owned[:d].sum() - paid[:d].sum())
        current = float(owned[d]) if d < len(owned) else 0.0
        rest = float(owned[d + 1 :].sum())
        return Accounting(removed, kept, current, rest)
