"""Units by importance: what a criterion comes to, and which units a policy keeps by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Criterion
from autoprune.criteria.registry import criterion_of
from autoprune.criteria.statistics import BatchLoss, gathered
from autoprune.graph import Analysis, Group
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader

__all__ = ["Ranking", "importance", "kept_units", "ranking"]


class Ranking(Mapping[str, list[int]]):
    """Units of every coupled group, most important first; a block has its one unit.

    >>> Ranking({"conv1": [3, 0, 2, 1]}).kept({"conv1": 2})
    {'conv1': [0, 3]}
    """

    def __init__(self, order: Mapping[str, Iterable[int]] | None = None) -> None:
        self._order = {name: list(units) for name, units in (order or {}).items()}

    def __getitem__(self, name: str) -> list[int]:
        return self._order[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        return f"Ranking({self._order!r})"

    def kept(self, units: Mapping[str, int]) -> dict[str, list[int]]:
        """Indices of the units that stay, ascending: the most important ones of each group.

        Args:
            units: Kept units by coupled group and block.
        """
        return kept_units(self._order, units)

    def among(self, kept: Mapping[str, Iterable[int]]) -> Ranking:
        """The same order with those units first that are kept: what is cut further comes from among them."""
        order = {}
        for name, units in self._order.items():
            stays = set(kept.get(name, units))
            order[name] = [u for u in units if u in stays] + [u for u in units if u not in stays]
        return Ranking(order)


def importance(model: nn.Module, group: Group, criterion: str | Criterion = "l1") -> Tensor:
    """Importance of each unit of one group by the weights alone; see `Criterion.units`.

    Raises:
        InputError: If the criterion is unknown.
    """
    chosen = criterion_of(criterion) if isinstance(criterion, str) else criterion
    return chosen.units(model, group, {})


def ranking(
    model: nn.Module,
    analysis: Analysis,
    criterion: str | Criterion = "l1",
    batches: Iterable[Any] = (),
    loss: BatchLoss | None = None,
    reader: BatchReader = AS_IT_COMES,
) -> Ranking:
    """Units of every group by importance, equal ones in the order of their indices.

    Args:
        model: The dense network.
        analysis: Its groups and blocks.
        criterion: A name, or the criterion itself.
        batches: Calibration data, gone through once if the criterion needs it.
        loss: Of (output, batch), for its gradients; cross-entropy if not given.
        reader: Which parts of a batch are the inputs.

    Raises:
        InputError: If the criterion is unknown, or needs data and there is none.
    """
    chosen = criterion_of(criterion) if isinstance(criterion, str) else criterion
    known = gathered(model, batches, chosen.needs, loss, reader)
    order: dict[str, list[int]] = {
        group.name: torch.argsort(chosen.units(model, group, known), descending=True, stable=True).tolist()
        for group in analysis.groups
    }
    return Ranking(order | {block.name: [0] for block in analysis.blocks})


def kept_units(order: Mapping[str, list[int]], units: Mapping[str, int]) -> dict[str, list[int]]:
    """Indices of the units that stay by any order, ascending.

    >>> kept_units({"conv1": [3, 0, 2, 1]}, {"conv1": 2})
    {'conv1': [0, 3]}
    """
    return {name: sorted(order[name][:kept]) for name, kept in units.items()}
