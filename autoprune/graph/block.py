"""Residual branches that can be dropped whole: plain values, free of any reference to the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from autoprune.graph.extent import Extent

__all__ = ["Block", "Swap", "enclosing_blocks", "is_active"]


@dataclass(frozen=True)
class Swap:
    """One module of a branch and what replaces it once the branch is dropped.

    Attributes:
        module: Qualified name of the module.
        does: "pass": hands on its input; "relu": hands on what is positive of it; "zero": zeros in the shape of it.
        argument: Which argument is the input: a position or a keyword.
        form: None where the module returns a tensor; where it returns a tuple, which of its entries is the tensor
            (the others become None).
        plain: Whether it is called with that one tensor alone.
        shape: The shape of the zeros, where it is not the argument's: sizes that follow the groups' widths, fixed ones,
            and None where the argument's own size stands.
    """

    module: str
    does: Literal["pass", "relu", "zero"]
    argument: int | str
    form: tuple[bool, ...] | None
    plain: bool
    shape: tuple[Extent | int | None, ...] | None = None


@dataclass(frozen=True)
class Block:
    """A branch f of x + f(x) with a shape that does not change: it can be left out.

    Attributes:
        name: Qualified name of the module that is x + f(x), or that holds most of f's parameters where the sum is
            taken in a larger one (":block" appended where that has weights of its own). Unique.
        nodes: The graph's operators that are gone with it (`Op.node`).
        tensors: Qualified names of the parameters and buffers that are gone with it.
        swaps: How it is taken out.
        stubs: Parameters of f that a module outside holds itself (a layer scale): single ones replace them.
        silencers: Parameters that make f(x) zero when they are.
        outer: Blocks that this one is inside of.
    """

    name: str
    nodes: frozenset[str]
    tensors: frozenset[str]
    swaps: tuple[Swap, ...]
    stubs: tuple[str, ...]
    silencers: tuple[str, ...]
    outer: tuple[str, ...] = ()


def enclosing_blocks(blocks: Collection[Block], thing: str) -> tuple[str, ...]:
    """The blocks that an operator (by its node) or a tensor goes with, in forward order."""
    return tuple(block.name for block in blocks if thing in block.nodes or thing in block.tensors)


def is_active(within: Collection[Collection[str]], units: Mapping[str, int]) -> bool:
    """Whether anything is left of what lies in several places.

    Args:
        within: For each place, the blocks around it; no place at all means that nothing can take it away.
        units: Block -> 1, or 0 where it is dropped; blocks that are not named are there.
    """
    return not within or any(all(units.get(name, 1) for name in place) for place in within)
