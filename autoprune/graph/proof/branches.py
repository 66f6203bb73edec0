"""The proof of every block: the user's own forward without it against the dense network in which it is silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from autoprune.graph.analysis import Analysis, Index
from autoprune.graph.block import Block
from autoprune.graph.branches.calls import calls_of
from autoprune.graph.branches.find import find_branches
from autoprune.graph.coupling.extents import Extents
from autoprune.graph.coupling.groups import Grouping
from autoprune.graph.coupling.norms import NormLine
from autoprune.graph.proof.draws import steady_draws
from autoprune.graph.proof.groups import Proof
from autoprune.graph.proof.network_copy import SEED, Shadow, Shadows
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.quiet import quiet
from autoprune.models.inputs.example import Example

__all__ = ["with_blocks"]


def with_blocks(
    model: nn.Module, analysis: Analysis, example: Example, grouping: Grouping, shadows: Shadows | None
) -> Analysis:
    """The analysis with its blocks, each taken out in the first way that is right.

    Args:
        model: The dense model; not changed.
        analysis: Its groups, proven.
        example: An example input.
        grouping: The groups as atoms, with the walk that they were found on.
        shadows: Copies of the model to prove the blocks on; None where the first way is believed.
    """
    traced, norms = grouping.walk.trace, grouping.norms()
    names = [group.name for group in analysis.groups]
    branches = find_branches(model, traced, calls_of(model, example), names, Extents(grouping).result)
    ways = [list(found) for found in branches.ways]
    refused = dict(branches.refused)
    while True:
        blocks = tuple(found[0] for found in ways)
        analysis = replace(analysis, blocks=_without_refused(blocks), undroppable=refused)
        failures = {}
        if shadows is not None and blocks:
            failures = _BlockProof(shadows(bool(norms)), analysis, traced, norms).run()
        if not failures:
            return analysis
        for found in ways:
            if found[0].name in failures:
                name = found.pop(0).name
                if not found:
                    refused[name] = failures[name]
        ways = [found for found in ways if found]


def _without_refused(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks, of which none is said to lie inside of one that is refused."""
    names = {block.name for block in blocks}
    return tuple(replace(block, outer=tuple(o for o in block.outer if o in names)) for block in blocks)


class _BlockProof(Proof):
    """Drops every block, then all, then half of them together with random widths."""

    def __init__(self, shadow: Shadow, analysis: Analysis, traced: Trace, norms: Sequence[NormLine]) -> None:
        super().__init__(shadow, analysis, traced, norms)
        self._groups = self._names
        self._names = [block.name for block in analysis.blocks]
        self._narrow: dict[str, Index] = {}

    def run(self) -> dict[str, str]:
        """Prove every block alone, then with others, then at random widths; name those that fail."""
        rng = np.random.default_rng(SEED)
        with quiet(), steady_draws(self._traced), torch.no_grad():
            for name in self._names:  # one by one: a forward may take another path once two are gone
                self._search([name], self._dropped([name]))
            for at, share in enumerate((1.0, 0.5, 0.5)):
                names = [name for name in self._left() if rng.random() < share]
                self._narrow = {} if share == 1 else self._draw(self._groups, f"blocks {at}", self._random)
                self._search(names, self._dropped(names))
        return self.reasons

    @staticmethod
    def _dropped(names: Sequence[str]) -> dict[str, Index]:
        return {name: np.zeros(0, np.int64) for name in names}

    def _try(self, names: Sequence[str], policy: Mapping[str, Index]) -> str | None:
        """As for groups, at the widths of this round."""
        return super()._try([*names, *self._narrow], {**policy, **self._narrow})

    def _passes(self, names: Sequence[str], policy: Mapping[str, Index]) -> bool:
        """A block that is gone cannot be seen."""
        return self._try(names, policy) is None
