"""Neurons and heads of some blocks, as many in each as one likes: what no stock config says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from autoprune.graph import Analysis, index_map
from autoprune.llm.structured.stock import by_layer_from, require_equal, silenced, stock_from

__all__ = ["BlockUnits", "cut_by_block"]


@dataclass(frozen=True, eq=False)
class BlockUnits:
    """Neurons, or heads of keys and values with their query heads, that stay; some blocks may be gone already.

    Attributes:
        analysis: Of the dense model.
        kept: Coupling -> units that stay, ascending; of blocks that are there.
        renamed: What a tensor or module of the dense model is called in the network.
    """

    analysis: Analysis
    kept: Mapping[str, Sequence[int]]
    renamed: Callable[[str], str]

    def taken(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a network saves, with the units that stay alone."""
        found = dict(state)
        for name, slices in index_map(self.analysis, self.kept).items():
            for dim, positions in slices:
                tensor = found[self.renamed(name)]
                found[self.renamed(name)] = tensor.index_select(dim, positions.to(tensor.device))
        return found

    def silent(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What it saves, where nothing reads the others."""
        found = dict(state)
        for name, units in self.kept.items():
            for member in (m for m in self.analysis.group(name).members if m.reads):
                place = self.renamed(member.tensor)
                found[place] = silenced(found[place], member.dim, member.positions[list(units)].flatten())
        return found

    def numbers(self) -> dict[str, float]:
        """Attribute of a module -> its value with these widths, of those that have another one then."""
        widths = self.analysis.widths({name: len(units) for name, units in self.kept.items()})
        return {
            f"{self.renamed(module)}.{name}": extent(widths)
            for module, name, extent in self.analysis.attributes
            if set(extent.scope) & set(self.kept) and extent(widths) != extent.dense
        }


def cut_by_block(network: nn.Module, units: BlockUnits) -> nn.Module:
    """The network with these units; proven equal to itself where nothing reads the others.

    Raises:
        InputError: If it is not.
    """
    wide: Any = network
    small = by_layer_from(network, units.taken(wide.state_dict()), units.numbers(), wide.config)
    require_equal(stock_from(network, wide.config, units.silent(wide.state_dict())), small)
    return small
