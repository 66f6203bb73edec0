"""What techniques change in the price of an operator beside its widths: the share of its work that is executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.terms import CostEntry
from autoprune.space import SearchSpace

if TYPE_CHECKING:
    from autoprune.graph import Extent

__all__ = ["Effect", "changed"]

Kept = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What a technique changes in the price of one operator.

    Multiply-accumulates are priced by `share`. Latency is not: what another kernel takes is measured, under its name,
    where the target has that among its `variants`; one that is not named there changes no latency.

    Attributes:
        scope: The decisions that change it; without effect where one of them is not in the search space.
        share: Kept units of shape (n, len(scope)), and how many inputs each output is computed from at the policies'
            widths, shape (n,), to the share of the operator's work that is still executed, shape (n,), in [0, 1], 1
            where everything is kept. Give something that pickles.
        variant: Name of the kernel that executes it then (`2:4`, `int8`); empty for the dense one.
        chosen_by: The decision of `scope` whose first option has the variant, while its last has the dense kernel.
        stored: As `share`, to the share of the weight's bytes that a file holds; None where it is written whole.
    """

    scope: tuple[str, ...]
    share: Callable[[Kept, Kept], Shares]
    variant: str = ""
    stored: Callable[[Kept, Kept], Shares] | None = None
    chosen_by: str = ""

    def and_then(self, later: Effect) -> Effect:
        """Both on one operator: of the work what both leave, of a file the smaller of the two ways of writing it."""
        split = len(self.scope)
        stored = None if self.stored is None and later.stored is None else _Less(split, self.stored, later.stored)
        named = later if later.variant else self
        scope, share = self.scope + later.scope, _Product(split, self.share, later.share)
        return Effect(scope, share, named.variant, stored, named.chosen_by)


@dataclass(frozen=True)
class _Product:
    """The product of two effects' shares; the first has the first columns."""

    split: int
    first: Callable[[Kept, Kept], Shares]
    second: Callable[[Kept, Kept], Shares]

    def __call__(self, kept: Kept, inputs: Kept) -> Shares:
        return self.first(kept[:, : self.split], inputs) * self.second(kept[:, self.split :], inputs)


@dataclass(frozen=True)
class _Less:
    """The smaller share of those that are known."""

    split: int
    first: Callable[[Kept, Kept], Shares] | None
    second: Callable[[Kept, Kept], Shares] | None

    def __call__(self, kept: Kept, inputs: Kept) -> Shares:
        parts = ((self.first, kept[:, : self.split]), (self.second, kept[:, self.split :]))
        least: Shares = np.min([share(own, inputs) for share, own in parts if share is not None], axis=0)
        return least


@dataclass(frozen=True)
class _SharedPrice:
    """A price times the share that is executed; the effect's decisions are the last columns."""

    price: Callable[[Kept], Shares]
    share: Callable[[Kept, Kept], Shares]
    inputs: Extent
    scope: tuple[str, ...]
    columns: int

    def __call__(self, kept: Kept) -> Shares:
        own = kept[:, : -self.columns]
        return self.price(own) * self.share(kept[:, -self.columns :], self.inputs.columns(own, self.scope))


def changed(entry: CostEntry, effect: Effect | None, space: SearchSpace, inputs: Extent) -> CostEntry:
    """A cost entry under an effect; the effect's decisions must be others than the entry's.

    Args:
        entry: The price of the operator.
        effect: What changes it, if anything does.
        space: The decisions.
        inputs: How many inputs each output is computed from; of the entry's decisions.
    """
    if effect is None or not effect.scope or not set(effect.scope) <= set(space.names):
        return entry
    price = _SharedPrice(entry.price, effect.share, inputs, entry.scope, len(effect.scope))
    return CostEntry(entry.name, entry.scope + effect.scope, price)
