"""From tied atoms to groups: classes with equal members form one decision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from autoprune.graph.analysis import Group, Member
from autoprune.graph.coupling.atoms import Atoms, Classes, partition
from autoprune.graph.coupling.flow import Slot, holder
from autoprune.graph.coupling.kinds import Kinds
from autoprune.graph.coupling.norms import NormLine
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.source_lines import where

__all__ = ["Grouping", "group_atoms", "group_classes"]


@dataclass(frozen=True, eq=False)
class Grouping:
    """Atoms grouped by one solution of the walk's ties.

    Attributes:
        walk: The walk.
        classes: Its solution.
        groups: The groups, in forward order.
        labels: For each group, its classes in unit order.
    """

    walk: Walk
    classes: Classes
    groups: tuple[Group, ...]
    labels: tuple[Atoms, ...]

    def refuse(self, failures: Mapping[str, str], least: Mapping[str, int]) -> Grouping:
        """The groups that are left when those named are frozen for a reason, with the fewest units they may keep."""
        for group, labels in zip(self.groups, self.labels, strict=True):
            if group.name in failures:
                self.classes.freeze(labels, failures[group.name])
            self.classes.least[labels] = least.get(group.name, 1)
        return group_atoms(self.walk, self.classes)

    def norms(self) -> list[NormLine]:
        """The operators that normalise over groups' units."""
        found = []
        unit = np.zeros(self.classes.count, np.int64)
        owner = np.full(self.classes.count, -1, np.int64)
        for index, labels in enumerate(self.labels):
            unit[labels], owner[labels] = np.arange(len(labels)), index
        for norm in self.walk.norms:
            labels = self.classes.label[norm.atoms]
            parts = []
            for index in np.unique(owner[labels][owner[labels] >= 0]).tolist():
                units = np.where(owner[labels] == index, unit[labels], -1)
                parts.append((self.groups[index].name, _places(units, self.groups[index].width)))
            if parts:
                found.append(NormLine(norm, len(labels), tuple(parts)))
        return found

    def next_interpretations(self, names: set[str]) -> dict[str, int]:
        """The ambiguous nodes that decide about the groups of these names, with the next interpretation to try."""
        wanted = [labels for g, labels in zip(self.groups, self.labels, strict=True) if g.name in names]
        inside = np.unique(np.concatenate(wanted or [np.zeros(0, np.int64)]))
        label = self.classes.label
        return {
            node: self.walk.interpretations.get(node, 0) + 1
            for node, (atoms, count) in self.walk.ambiguities.items()
            if self.walk.interpretations.get(node, 0) + 1 < count and np.isin(label[atoms], inside).any()
        }


def group_classes(walk: Walk, classes: Classes) -> list[tuple[Atoms, list[Slot]]]:
    """Sort the classes that can be removed into groups, in forward order, and freeze all others.

    Returns:
        The classes of each group in unit order, and the dimensions that hold them.
    """
    rank = _forward_order(walk)
    slots = sorted(walk.slots, key=lambda slot: rank.get(slot.tensor, len(walk.ops)))
    _freeze_leaks(classes, walk)
    _freeze_loose(classes, slots)
    found = []
    for labels, places in _alike(walk, classes, slots):
        if len(labels) == 1:
            classes.freeze(labels, "all of its channels live and die together")
            continue
        found.append(_ordered(classes, [slots[k] for k in places], labels))
    found.sort(key=lambda entry: rank.get(entry[1][0].tensor, len(walk.ops)))
    return found


def group_atoms(walk: Walk, classes: Classes) -> Grouping:
    """Group the classes that can be removed."""
    found = group_classes(walk, classes)
    names: dict[str, int] = defaultdict(int)
    normalised = np.zeros(classes.count, np.bool_)
    for norm in walk.norms:
        normalised[classes.label[norm.atoms]] = True
    kinds = Kinds(walk, classes)
    groups = tuple(_group(classes, owned, labels, names, normalised, kinds.of(labels)) for labels, owned in found)
    return Grouping(walk, classes, groups, tuple(labels for labels, _ in found))


def _forward_order(walk: Walk) -> dict[str, int]:
    """Tensor -> place of the first operator that reads it."""
    rank: dict[str, int] = {}
    for place, op in enumerate(walk.ops):
        for flow in op.params:
            rank.setdefault(flow.tensor or "", place)
    return rank


def _freeze_leaks(classes: Classes, walk: Walk) -> None:
    """A figure over a width may scale that width alone; elsewhere it makes something depend on what is kept."""
    for figure, scaled in walk.scaled:
        one, other = classes.label[figure.atoms], classes.label[scaled]
        if not np.array_equal(one, other):
            classes.freeze(one, f"summed over by {where(figure.node)}")


def _freeze_loose(classes: Classes, slots: list[Slot]) -> None:
    """Only what some layer makes and some layer reads can be cut and be silenced for the proof."""
    made, read = np.zeros(classes.count, np.bool_), np.zeros(classes.count, np.bool_)
    for slot in slots:
        made[classes.label[slot.atoms[classes.made[slot.atoms]]]] = True
        read[classes.label[slot.atoms[classes.read[slot.atoms]]]] = True
    read[classes.label[classes.contracted]] = True
    classes.freeze(np.flatnonzero(~made), "no layer makes it")
    classes.freeze(np.flatnonzero(~read), "no layer reads it")


def _alike(walk: Walk, classes: Classes, slots: list[Slot]) -> Iterator[tuple[Atoms, list[int]]]:
    """The free classes that lie in the same dimensions equally often, and the slots among these dimensions.

    Activations count too: where a tensor holds only some units of a would-be group, its size would depend on
    which units are kept and not only on how many.
    """
    flows = [flow for op in walk.ops for flow in (*op.inputs, op.output, *op.params)]
    lines = [slot.atoms for slot in slots]
    lines += {id(atoms): atoms for flow in flows for atoms in flow.atoms()}.values()
    lines += [atoms for _, _, atoms in walk.counts.attributes]
    part = partition(classes.count, (classes.label[atoms] for atoms in lines))
    part[classes.frozen] = 0
    held: dict[int, list[int]] = {}
    for place, atoms in enumerate(lines):
        found, first = np.unique(part[np.unique(classes.label[atoms])], return_index=True)
        for alike in found[np.argsort(first)].tolist():  # in the order of their first classes
            held.setdefault(alike, []).append(place)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], list(held)), np.searchsorted(part[order], list(held), side="right")
    for (alike, places), begin, end in zip(held.items(), *bounds, strict=True):
        if alike:
            yield order[begin:end], [place for place in places if place < len(slots)]


def _ordered(classes: Classes, owned: list[Slot], labels: Atoms) -> tuple[Atoms, list[Slot]]:
    """The classes in the order of the first producer's rows, and the slots with that producer first."""
    roles = [_role(classes, slot, labels) for slot in owned]
    first = next(place for place, role in enumerate(roles) if role in ("producer", "both"))
    owned = [owned[first], *owned[:first], *owned[first + 1 :]]
    line = classes.label[owned[0].atoms]
    line = line[np.isin(line, labels)]
    _, places = np.unique(line, return_index=True)
    return line[np.sort(places)], owned


def _role(classes: Classes, slot: Slot, labels: Atoms) -> str:
    own = slot.atoms[np.isin(classes.label[slot.atoms], labels)]
    makes, reads = classes.made[own].any(), classes.read[own].any()
    if makes:
        return "both" if reads else "producer"
    return "consumer" if reads else "carrier"


def _group(
    classes: Classes,
    owned: list[Slot],
    labels: Atoms,
    names: dict[str, int],
    normalised: NDArray[np.bool_],
    kind: str,
) -> Group:
    unit = np.full(classes.count, -1, np.int64)
    unit[labels] = np.arange(len(labels))
    members = []
    for slot in owned:
        units = unit[classes.label[slot.atoms]]
        module = holder(slot.tensor)
        role = _role(classes, slot, labels)
        grid = torch.from_numpy(_places(units, len(labels)))
        members.append(Member(slot.tensor, slot.dim, grid, role, module))
    base = members[0].module or members[0].tensor
    names[base] += 1
    name = base if names[base] == 1 else f"{base}:{names[base] - 1}"
    oracle = "normalised" if normalised[labels].any() else "zero"
    summed = bool(np.isin(classes.label[classes.contracted], labels).any())
    return Group(name, len(labels), tuple(members), kind, oracle, summed, int(classes.least[labels].max()))


def _places(units: Atoms, count: int) -> Atoms:
    """(count, m): the places of each unit in a line of units (-1: none of them)."""
    return np.argsort(units, kind="stable")[np.count_nonzero(units < 0) :].reshape(count, -1).copy()
