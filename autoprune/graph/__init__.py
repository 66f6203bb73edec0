"""Couplings traced from the model, validated, and the physical cut."""

from autoprune.graph.analyse import analyse
from autoprune.graph.analysis import Analysis, Extent, Group, Member, Op, Shape
from autoprune.graph.block import Block
from autoprune.graph.fingerprint import fingerprint, first_difference
from autoprune.graph.surgery.cut import cut, index_map, zero
from autoprune.graph.surgery.weight_sharing import Selector
from autoprune.graph.tied import tied
from autoprune.graph.trace.outputs import tensors_of

__all__ = [
    "Analysis",
    "Block",
    "Extent",
    "Group",
    "Member",
    "Op",
    "Selector",
    "Shape",
    "analyse",
    "cut",
    "fingerprint",
    "first_difference",
    "index_map",
    "tensors_of",
    "tied",
    "zero",
]
