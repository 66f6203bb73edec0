"""Feed-forward neurons of some blocks, as many in each as one likes: what no stock config says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from autoprune.graph import Analysis, index_map
from autoprune.llm.structured.stock import by_layer_from, require_equal, silenced, stock_from

__all__ = ["Neurons", "cut_neurons", "with_neurons"]


@dataclass(frozen=True, eq=False)
class Neurons:
    """Neurons that stay, in a network of the dense model's analysis or of one with fewer blocks.

    Attributes:
        analysis: Of the dense model.
        kept: Coupling -> neurons that stay, ascending; of blocks that are there.
        renamed: What a tensor or module of the dense model is called in the network.
    """

    analysis: Analysis
    kept: Mapping[str, Sequence[int]]
    renamed: Callable[[str], str]

    def taken(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a network saves, with the neurons that stay alone."""
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


def with_neurons(network: nn.Module, neurons: Neurons, state: Mapping[str, Tensor], config: Any) -> nn.Module:
    """The network of a class with these neurons, for evaluation: nothing is copied or proven but slices.

    Args:
        network: Of the class.
        neurons: Which stay.
        state: What the network with all neurons saves.
        config: That network's.
    """
    return by_layer_from(network, neurons.taken(state), neurons.numbers(), config)


def cut_neurons(network: nn.Module, neurons: Neurons) -> nn.Module:
    """The network with these neurons; proven equal to itself where nothing reads the others.

    Raises:
        InputError: If it is not.
    """
    wide: Any = network
    small = with_neurons(network, neurons, wide.state_dict(), wide.config)
    require_equal(stock_from(network, wide.config, neurons.silent(wide.state_dict())), small)
    return small
