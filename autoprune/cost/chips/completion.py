"""Cheap ways to finish a policy on the best chip: of each chip the options that are least in time, energy and bytes.

Every layer's cost depends on its own decision alone, so the cheapest tail of one chip does not depend on what was
decided before. For time and energy the best of these tails is the minimum over chips and tails, where memories hold it;
for their product, and near full memories, it is a real policy that need not be the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.chips.tables import ChipTables
from autoprune.cost.terms import Costs

__all__ = ["ChipCompletions", "least_policies"]

Indices = NDArray[np.int64]


class ChipCompletions:
    """Answers, for any prefix of option numbers, what the cheapest known completion is.

    Args:
        price: Costs of policies, option numbers (policies, decisions) to (policies,).
        sizes: Options of each decision.
        tails: Policies whose ends complete others, (tails, decisions).
    """

    def __init__(self, price: Callable[[Indices], Costs], sizes: Sequence[int], tails: Indices) -> None:
        self._price, self._sizes, self._tails = price, list(sizes), tails

    def best(self, prefix: Indices, known: Indices | None = None) -> Indices:
        """The cheapest known full policy that starts with `prefix`, (decisions,)."""
        policies = self._policies(prefix[None], known)
        return np.asarray(policies[0, self._priced(policies)[0].argmin()])

    def ahead(self, prefix: Indices, known: Indices, limit: float) -> tuple[Costs, Indices | None]:
        """What each option of the next decision can still come to, (options,), and the policies that come to it."""
        options = np.arange(self._sizes[len(prefix)])[:, None]
        begun = np.hstack([np.repeat(prefix[None], len(options), axis=0), options])
        policies = self._policies(begun, known)
        prices = self._priced(policies)
        chosen = prices.argmin(axis=1)
        rows = np.arange(len(options))
        return prices[rows, chosen], policies[rows, chosen]

    def _policies(self, prefixes: Indices, known: Indices | None) -> Indices:
        """Every tail behind every prefix, (prefixes, tails, decisions)."""
        tails = self._tails if known is None else np.vstack([self._tails, known])
        count, taken = prefixes.shape
        full = np.repeat(tails[None], count, axis=0)
        full[:, :, :taken] = prefixes[:, None]
        return full.astype(np.int64)

    def _priced(self, policies: Indices) -> Costs:
        count, tails, decisions = policies.shape
        return self._price(policies.reshape(-1, decisions)).reshape(count, tails)


def least_policies(tables: ChipTables) -> list[Indices]:
    """Policies of the least option in time, in energy and in bytes, of every chip: each (chips, decisions)."""
    by_bytes = [(each / tables.room).max(axis=2, initial=0.0) for each in tables.needs]
    return [np.stack([each.argmin(axis=0) for each in table], axis=1) for table in (tables.ms, tables.mj, by_bytes)]
