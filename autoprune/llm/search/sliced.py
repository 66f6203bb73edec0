"""The network of a policy for scoring: made of slices of the dense weights, which it shares where nothing is cut.

`Levers.cut` copies the model and proves what comes out, which takes about as long as scoring it. What a config says of
each decision has been proven at its least, so a candidate's config can be put together, and its class makes a network
without memory for weights, which gets the slices. Shapes are compared each time. Where anything differs, the plain way
is taken, and what a search delivers always comes by that way.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from autoprune.llm.search.levers import BLOCKS, Levers, part_of
from autoprune.llm.structured.stack import config_without, state_without
from autoprune.llm.structured.stock import by_layer_from, sharing_stock
from autoprune.models.pretrained import differences, shapes_of, stock_model

__all__ = ["SlicedNetworks"]


@dataclass(frozen=True)
class _Number:
    """A number in a config, and what it follows.

    Attributes:
        dense: Its value in the dense model.
        widths: Decision -> units of the dense model, of each that it is proportional to.
    """

    dense: int
    widths: Mapping[str, int]

    def of(self, choices: Mapping[str, int]) -> int:
        """Its value where these stay."""
        value = self.dense
        for name, width in self.widths.items():
            value = value * choices.get(name, width) // width
        return value


class SlicedNetworks:
    """Networks of policies, evaluated while the dense one stays as it is.

    Args:
        levers: What can be changed.

    Attributes:
        sliced: Networks that were made of slices; the others were made the plain way.
    """

    def __init__(self, levers: Levers) -> None:
        self._levers = levers
        self._first = {id(tensor): name for name, tensor in levers.network.named_parameters()}
        self._rules = _rules(levers)
        self.sliced = 0

    def __call__(self, choices: Mapping[str, int]) -> nn.Module:
        """The network with these numbers, for evaluation alone: its weights are the dense network's.

        Raises:
            InputError: If no config of the class can say it.
        """
        levers = self._levers
        if not self._rules.complete:
            return levers.cut(choices)
        config = self._config(choices)
        gone = levers.gone(choices.get(BLOCKS, len(levers.stack)))
        state = state_without(levers.stack, levers.network.state_dict(keep_vars=True), gone)
        state = self._taken(state, choices)
        stock = stock_model(levers.network, config)
        if stock is None or differences({name: tuple(t.shape) for name, t in state.items()}, shapes_of(stock)):
            return levers.cut(choices)
        self.sliced += 1
        own = levers.by_block(choices)
        state = own.taken(state) if own.kept else state
        state = dict(levers.with_zeros(state, choices))
        if own.kept:
            return by_layer_from(levers.network, state, own.numbers(), config)
        return sharing_stock(levers.network, config, state)

    def _config(self, choices: Mapping[str, int]) -> Any:
        network: Any = self._levers.network
        config = copy.deepcopy(network.config)
        widths = [d for d in self._levers.space.decisions if d.name != BLOCKS and part_of(d.name) == d.name]
        said = dict(self._rules.named) if any(choices.get(d.name, d.width) < d.width for d in widths) else {}
        said |= {name: number.of(choices) for name, number in self._rules.numbers.items()}
        for name, value in said.items():
            setattr(config, name, value)
        gone = self._levers.gone(choices.get(BLOCKS, len(self._levers.stack)))
        return config_without(config, gone) if gone else config

    def _taken(self, state: Mapping[str, Tensor], choices: Mapping[str, int]) -> dict[str, Tensor]:
        """The tensors with the positions that stay; tied ones are one."""
        slices, taken = self._levers.uniform_slices(choices), dict[int, Tensor]()
        for tensor in state.values():
            if id(tensor) not in taken:
                small = tensor.detach()
                for dim, positions in slices.get(self._first.get(id(tensor), ""), {}).items():
                    small = small.index_select(dim, positions.to(small.device))
                taken[id(tensor)] = small
        return {name: taken[id(tensor)] for name, tensor in state.items()}


@dataclass(frozen=True)
class _Rules:
    """What a config says of each decision.

    Attributes:
        numbers: Field -> how it follows decisions.
        named: Fields that have to be said, for they followed from another number before.
        complete: Whether that is all that the proven configs say.
    """

    numbers: Mapping[str, _Number]
    named: Mapping[str, Any]
    complete: bool


def _rules(levers: Levers) -> _Rules:
    """The rules by the configs that are proven: each decision alone at its least."""
    network: Any = levers.network
    dense = network.config.to_dict()
    widths: dict[str, dict[str, int]] = {}
    named: dict[str, Any] = {}
    complete = True
    for decision in (d for d in levers.space.decisions if d.name != BLOCKS):
        least = levers.at_least[decision.name].to_dict()
        for name in (name for name in least if least[name] != dense.get(name)):
            before, value = dense.get(name), least[name]
            if type(before) is int and value * decision.width == before * decision.options[0]:
                widths.setdefault(name, {})[decision.name] = decision.width
            else:
                complete = complete and before is None and named.setdefault(name, value) == value
    return _Rules({name: _Number(dense[name], found) for name, found in widths.items()}, named, complete)
