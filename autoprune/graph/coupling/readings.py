"""Which of several readings to start from, where the graph allows more than one (a width split in two, a size)."""

from __future__ import annotations

import numpy as np

from autoprune.graph.coupling.atoms import Classes
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.export import Trace

__all__ = ["first_readings"]


def first_readings(traced: Trace) -> dict[str, int]:
    """Node -> reading, so that no reading freezes what its next one would leave free."""
    walk = Walk(traced).run()
    stuck = _stuck(walk, walk.table.solve())
    following = {node: 1 for node in stuck if walk.forks[node][1] > 1}
    if not following:
        return {}
    other = Walk(traced, following).run()
    still = _stuck(other, other.table.solve())
    freed = {node: reading for node, reading in following.items() if node not in still}
    return freed if freed and _free(Walk(traced, freed).run()) > _free(walk) else {}


def _stuck(walk: Walk, classes: Classes) -> set[str]:
    """Nodes whose reading leaves nothing that can go."""
    return {node for node, (atoms, _) in walk.forks.items() if classes.frozen[classes.label[atoms]].all()}


def _free(walk: Walk) -> int:
    """Classes that some layer makes, some layer reads, and nothing freezes."""
    classes = walk.table.solve()
    made, read = np.zeros(classes.count, np.bool_), np.zeros(classes.count, np.bool_)
    made[classes.label[classes.made]], read[classes.label[classes.read]] = True, True
    return int((made & read & ~classes.frozen).sum())
