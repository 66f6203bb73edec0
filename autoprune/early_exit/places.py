"""Where a network can be left: every value that all of the flow from the inputs to the output passes through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx
from torch.utils.flop_counter import FlopCounterMode

from autoprune.dynamic_networks.flow import Flow, node_name, sizes_of
from autoprune.dynamic_networks.frontiers import cuts, frontiers
from autoprune.early_exit.heads import has_head
from autoprune.errors import UnsupportedModelError

__all__ = ["Place", "places_of"]

MOST = 8
"""Places that are offered: their subsets are tried one by one."""

_EARLIEST, _LATEST = 0.01, 0.92  # shares of the arithmetic; outside an exit saves nothing


@dataclass(frozen=True)
class Place:
    """A place for an exit.

    Attributes:
        name: The module whose output it is, or inside which it lies.
        node: The value in the exported graph.
        shape: Its sizes for one sample.
        share: Share of the network's arithmetic before it, in (0, 1).
        is_block: Whether it is the end of a module; else it lies inside the one that is named.
    """

    name: str
    node: str
    shape: tuple[int, ...]
    share: float
    is_block: bool = True


def places_of(flow: Flow, most: int = MOST) -> tuple[Place, ...]:
    """The places of a network in forward order; of many those at the outermost modules' ends, evenly spread.

    Args:
        flow: The network.
        most: How many are wanted.

    Raises:
        UnsupportedModelError: If there is none; the tensor that is alive beside every cut is named.
    """
    found = [_place(flow, node, share) for node, share in _last_of_each_chain(flow)]
    offered = [place for place in found if place is not None and _EARLIEST <= place.share <= _LATEST]
    if not offered:
        raise UnsupportedModelError(f"this network cannot be left early: {_why_not(flow)}")
    return tuple(_spread(sorted(offered, key=lambda place: place.share), most))


def _last_of_each_chain(flow: Flow) -> Iterator[tuple[fx.Node, float]]:
    """Of the frontiers without arithmetic between them the last, with the share of all arithmetic before it."""
    work = _arithmetic(flow)
    total = sum(work.values()) or 1
    done, before = 0, {}
    for node in flow.nodes:
        done += work.get(node, 0)
        before[node] = done
    chain: list[fx.Node] = []
    for node in frontiers(flow):
        if chain and before[node] > before[chain[-1]]:
            yield _best_of(flow, chain), before[chain[-1]] / total
            chain = []
        chain.append(node)
    if chain:
        yield _best_of(flow, chain), before[chain[-1]] / total


def _best_of(flow: Flow, chain: Sequence[fx.Node]) -> fx.Node:
    """Of values with the same work before them the last that ends a block; else the smallest, of equals the last."""
    ends = [node for node in chain if node in flow.ends]
    return ends[-1] if ends else min(reversed(chain), key=_numbers)


def _numbers(node: fx.Node) -> float:
    sizes = sizes_of(node)
    return math.inf if sizes is None else math.prod(sizes)


def _place(flow: Flow, node: fx.Node, share: float) -> Place | None:
    shape = sizes_of(node)
    if shape is None or not has_head(shape) or not node.meta["val"].is_floating_point():
        return None
    ends = flow.ends.get(node)
    return Place(ends or f"{node_name(node)}/{node.name}", node.name, shape, share, ends is not None)


def _spread(places: Sequence[Place], most: int) -> list[Place]:
    """The first, and of the others those nearest to evenly spread shares of the arithmetic."""
    if len(places) <= most:
        return list(places)
    kept = list(places)
    while len(kept) > most:  # inside a block before its end; of two close together the later: the first saves most
        gaps = [(kept[i].is_block, kept[i].share - kept[i - 1].share, i) for i in range(1, len(kept))]
        kept.pop(min(gaps)[2])
    return kept


class _Counting(fx.Interpreter):
    """Runs the graph and counts each operator's arithmetic."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.work: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> object:
        """One operator."""
        with FlopCounterMode(display=False) as counter:
            result = super().run_node(n)
        self.work[n] = counter.get_total_flops()
        return result


def _arithmetic(flow: Flow) -> dict[fx.Node, int]:
    counting = _Counting(flow.module)
    with torch.no_grad():
        counting.run(*flow.flat(flow.example), enable_io_processing=False)
    return counting.work


def _why_not(flow: Flow) -> str:
    """Which value crosses most cuts without being the one that was just computed."""
    crossing = Counter(other for node, alive in cuts(flow) for other in alive if other is not node)
    if not crossing:
        return "too little of its work lies behind any single tensor"
    node = max(crossing, key=lambda each: crossing[each])
    return f"what {node_name(node)} computes ({node.name}) is read again further on, at every place worth leaving at"
