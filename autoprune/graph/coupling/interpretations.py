"""Where the graph allows several interpretations (a width split in two, a size): which of them to start from."""

from __future__ import annotations

import numpy as np

from autoprune.graph.coupling.atoms import Classes
from autoprune.graph.coupling.walk import Walk
from autoprune.graph.trace.export import Trace

__all__ = ["first_interpretations"]


def first_interpretations(traced: Trace) -> dict[str, int]:
    """Node -> interpretation, so that no interpretation freezes what its next one would leave free."""
    walk = Walk(traced).run()
    stuck = _stuck(walk, walk.table.solve())
    following = {node: 1 for node in stuck if walk.ambiguities[node][1] > 1}
    if not following:
        return {}
    other = Walk(traced, following).run()
    still = _stuck(other, other.table.solve())
    freed = {node: interpretation for node, interpretation in following.items() if node not in still}
    return freed if freed and _free(Walk(traced, freed).run()) > _free(walk) else {}


def _stuck(walk: Walk, classes: Classes) -> set[str]:
    """Nodes whose interpretation leaves nothing that can go."""
    return {node for node, (atoms, _) in walk.ambiguities.items() if classes.frozen[classes.label[atoms]].all()}


def _free(walk: Walk) -> int:
    """Classes that some layer makes, some layer reads, and nothing freezes."""
    classes = walk.table.solve()
    made, read = np.zeros(classes.count, np.bool_), np.zeros(classes.count, np.bool_)
    made[classes.label[classes.made]], read[classes.label[classes.read]] = True, True
    return int((made & read & ~classes.frozen).sum())
