"""Where the graph allows several interpretations (a width split in two, a size): which of them to start from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice

from autoprune.graph.coupling.atoms import Classes
from autoprune.graph.coupling.groups import group_classes
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.source_lines import where

__all__ = ["first_interpretations"]

_NUMBERS = re.compile(r"\d+(?=.*\.)|(?<![^.])\d+$")  # of a module's path: all but those of the last name
_TRIES = 24  # walks at most; a try is a walk, a second for the largest networks

Flips = dict[str, int]


def first_interpretations(traced: Trace) -> Flips:
    """Node -> interpretation, so that no interpretation freezes what another would leave free.

    As long as an ambiguous node touches frozen units, others of its interpretations are tried, and the one is kept
    that lets the most output rows go; of equals the first. All repetitions of a block are tried together: they want
    the same.
    """
    best, left = _Reading(traced, {}), _TRIES
    while best.stuck and left > 0:
        found = best
        for flips in islice(best.moves(), left):
            left -= 1
            tried = _Reading(traced, best.interpretations | flips)
            if tried.free > found.free:
                found = tried
            if not tried.stuck:
                break
        if found is best:
            break
        best = found
    return best.interpretations


@dataclass(frozen=True)
class _Reading:
    """A walk under some interpretations, and what it leaves free."""

    traced: Trace
    interpretations: Flips

    @cached_property
    def _walk(self) -> Walk:
        return Walk(self.traced, self.interpretations).run()

    @cached_property
    def _classes(self) -> Classes:
        classes = self._walk.table.solve()
        group_classes(self._walk, classes)
        return classes

    @cached_property
    def free(self) -> int:
        """Output rows of layers that can go."""
        return int((self._classes.made & ~self._classes.frozen[self._classes.label]).sum())

    @cached_property
    def stuck(self) -> Mapping[str, int]:
        """Nodes that decide about something frozen -> the number of their interpretations, in forward order."""
        found = {node: (a, count) for node, (a, count) in self._walk.ambiguities.items() if count > 1 and len(a)}
        if not found:  # most convolutional networks: nothing to be sorted into groups for
            return {}
        frozen, label = self._classes.frozen, self._classes.label
        return {node: count for node, (atoms, count) in found.items() if frozen[label[atoms]].any()}

    def moves(self) -> Iterator[Flips]:
        """Other interpretations: of each place in the code, of each node, of two places, and of all nodes at once."""
        places: dict[str, list[str]] = {}
        for node in self.stuck:
            places.setdefault(self._places[node], []).append(node)
        yield from (flips for nodes in places.values() for flips in self._others(nodes))
        repeated = [node for nodes in places.values() if len(nodes) > 1 for node in nodes]
        yield from (flips for one, other in combinations(places.values(), 2) for flips in self._others([*one, *other]))
        yield from (flips for node in repeated for flips in self._others([node]))

    def _others(self, nodes: list[str]) -> Iterator[Flips]:
        """Every other interpretation of these nodes, each as far on from its present one."""
        for step in range(1, max(self.stuck[node] for node in nodes)):
            yield {node: (self.interpretations.get(node, 0) + step) % self.stuck[node] for node in nodes}

    @cached_property
    def _places(self) -> dict[str, str]:
        """Node -> where it is called: one place for all repetitions of a block ("layer1.0.conv2", "layer2.3.conv2")."""
        nodes = (node for node in self.traced.graph.nodes if node.name in self.stuck)
        return {n.name: f"{_NUMBERS.sub('*', self.traced.around(n))} {where(n)}" for n in nodes}
