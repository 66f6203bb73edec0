"""Couplings traced from the model, validated, and the physical cut."""

from autoprune.graph.analyse import analyse
from autoprune.graph.blocks import Block
from autoprune.graph.fingerprint import fingerprint, first_difference
from autoprune.graph.selector import Selector
from autoprune.graph.surgery import cut, index_map, zero
from autoprune.graph.ties import tied
from autoprune.graph.trace import tensors_of
from autoprune.graph.values import Analysis, Extent, Group, Member, Op, Shape

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
