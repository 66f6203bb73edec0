"""Prune a network block by block: what a block reads comes from the blocks before it as they are by then, pruned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.llm.blocks.capture import Arrived, arrivals, run_block
from autoprune.llm.blocks.stack import DecoderStack
from autoprune.llm.blocks.storage import BlockStorage
from autoprune.llm.sparsity.base import OneShot
from autoprune.llm.sparsity.layers import Layer, linear_layers
from autoprune.llm.sparsity.owl import outlier_share
from autoprune.llm.sparsity.statistics import Needs, Read, in_order, watched
from autoprune.llm.sparsity.wanda import saliency
from autoprune.masks.base import Pattern
from autoprune.masks.unstructured import Unstructured

__all__ = ["LayerFigures", "OneShotPlan", "dense_reads", "outlier_shares", "prune_blocks"]

_BATCH = 4  # windows at once


@dataclass(frozen=True)
class LayerFigures:
    """What became of one matrix.

    Attributes:
        name: Of its layer.
        weights: How many it has.
        zeros: How many of them are zero now.
        error: Squared error of the outputs on what the layer read, relative to the outputs; None where it is unknown.
        note: What is to be said of it; None if nothing.
    """

    name: str
    weights: int
    zeros: int
    error: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class OneShotPlan:
    """How a network is pruned.

    Attributes:
        method: What decides.
        pattern: What may stay of each matrix.
        sequential: Whether what a layer reads is collected anew when the layers before it in its block are pruned.
        ratios: Share of zeros of each block, in place of the pattern's; None for the same everywhere.
    """

    method: OneShot
    pattern: Pattern
    sequential: bool = False
    ratios: tuple[float, ...] | None = None

    def of_block(self, number: int) -> Pattern:
        """The pattern of a block."""
        if self.ratios is None:
            return self.pattern
        if not isinstance(self.pattern, Unstructured):
            raise InputError(
                f"OWL shares out zeros, which {self.pattern.name} does not allow; give a share such as 50%"
            )
        return replace(self.pattern, zeros=self.ratios[number])


@torch.no_grad()
def prune_blocks(
    storage: BlockStorage, windows: Tensor, plan: OneShotPlan, progress: Progress = no_progress
) -> list[LayerFigures]:
    """Prune all blocks of a network, in place, going on behind those that are done.

    Args:
        storage: The blocks.
        windows: Of the calibration text, int64 (windows, tokens).
        plan: Method and pattern.
        progress: Receives blocks done.

    Returns:
        A row for every matrix, in the order of the network.

    Raises:
        InputError: If something that a layer reads is not finite; or no layer can have the pattern.
    """
    stack, rows = storage.stack, []
    flow = _Flow(storage, windows) if plan.method.needs != "nothing" else None
    for number in range(len(stack.blocks)):
        with storage.resident(number) as block:
            kept = storage.figures(number)
            if kept is None:
                found = _prune_block(stack, number, plan, flow)
                storage.finish(number, [asdict(row) for row in found])
            else:
                found = [LayerFigures(**row) for row in kept]
            if flow is not None:
                flow.pass_on(block, number)
        rows += found
        progress(number + 1, len(stack.blocks), stack.block_name(number))
    if not any(row.zeros for row in rows):
        raise InputError(f"no layer of {type(stack.network).__name__} can have the pattern {plan.pattern.name}")
    return rows


class _Flow:
    """The hidden states of all calibration windows on their way through the blocks."""

    def __init__(self, storage: BlockStorage, windows: Tensor) -> None:
        with storage.resident(0):
            self.arrived: list[Arrived] = arrivals(storage.stack, torch.split(windows, _BATCH))
        self.hidden = [each.hidden for each in self.arrived]

    def run(self, block: nn.Module, number: int, most: int | None = None) -> None:
        """Let a block read what reaches it."""
        for hidden, each in list(zip(self.hidden, self.arrived, strict=True))[:most]:
            run_block(block, hidden, each.calls[number])

    def pass_on(self, block: nn.Module, number: int) -> None:
        """What the block gives is what reaches the next."""
        for place, each in enumerate(self.arrived):
            self.hidden[place] = run_block(block, self.hidden[place], each.calls[number])


def _prune_block(stack: DecoderStack, number: int, plan: OneShotPlan, flow: _Flow | None) -> list[LayerFigures]:
    layers = _layers(stack, number)
    block, pattern = stack.blocks[number], plan.of_block(number)
    rows: dict[str, LayerFigures] = {}
    for group in _groups(layers, block, number, plan, flow):
        with watched(group, plan.method.needs) as watch:
            if flow is not None:
                flow.run(block, number)
        rows |= {
            layer.name: _prune_layer(layer, plan.method, pattern, watch.reads.pop(layer.name, None)) for layer in group
        }
    return [rows[layer.name] for layer in layers]


def _groups(
    layers: list[Layer], block: nn.Module, number: int, plan: OneShotPlan, flow: _Flow | None
) -> list[list[Layer]]:
    """Layers whose inputs are collected together: all of a block, or those that read one tensor, in order."""
    if not plan.sequential or flow is None:
        return [layers]
    with watched(layers, "nothing") as watch:
        flow.run(block, number, most=1)
    called = in_order(layers, watch)
    rest = [layer for layer in layers if not any(layer in group for group in called)]
    return [*called, *([rest] if rest else [])]


def _prune_layer(layer: Layer, method: OneShot, pattern: Pattern, read: Read | None) -> LayerFigures:
    weight = layer.matrix
    if not bool(torch.isfinite(weight).all()):
        raise InputError(f"the weights of {layer.name} are not finite numbers")
    reason = pattern.why_not((1, *weight.shape))
    if reason is not None:
        return LayerFigures(layer.name, weight.numel(), int((weight == 0).sum()), None, f"dense: {reason}")
    found = method.prune(weight, pattern, read)
    layer.put(found.weight)
    zeros = int((layer.parameter == 0).sum())
    return LayerFigures(layer.name, weight.numel(), zeros, _error(weight, found.weight, read), found.note)


def _error(dense: Tensor, pruned: Tensor, read: Read | None) -> float | None:
    if read is None or read.moments is None:
        return None
    lost, whole = ((each @ read.moments) * each for each in (dense - pruned, dense))
    return float(lost.sum() / whole.sum().clamp(min=torch.finfo(torch.float32).tiny))


@torch.no_grad()
def dense_reads(
    storage: BlockStorage, windows: Tensor, needs: Needs, progress: Progress = no_progress
) -> Iterator[tuple[list[Layer], dict[str, Read]]]:
    """Block by block its linear layers, and what they read while nothing is pruned; name of a layer -> what it read.

    Args:
        storage: The blocks.
        windows: Of the calibration text, int64 (windows, tokens).
        needs: What is summed.
        progress: Receives blocks done.

    Raises:
        InputError: If something that a layer reads is not finite.
    """
    stack = storage.stack
    flow = _Flow(storage, windows) if needs != "nothing" else None
    for number in range(len(stack.blocks)):
        layers = _layers(stack, number)
        with storage.resident(number) as block:
            with watched(layers, needs) as watch:
                if flow is not None:
                    flow.pass_on(block, number)
            yield layers, watch.reads
        progress(number + 1, len(stack.blocks), stack.block_name(number))


def outlier_shares(
    storage: BlockStorage, windows: Tensor, progress: Progress = no_progress
) -> tuple[list[float], list[int]]:
    """The share of outliers in each dense block, and its weights that can go: what OWL's ratios come from."""
    shares, weights = [], []
    for layers, reads in dense_reads(storage, windows, "norms", progress):
        shares.append(outlier_share([saliency(layer.matrix, reads.get(layer.name)) for layer in layers]))
        weights.append(sum(layer.parameter.numel() for layer in layers))
    return shares, weights


def _layers(stack: DecoderStack, number: int) -> list[Layer]:
    shared = {id(tensor): name for name, tensor in stack.outside().items()}
    return linear_layers(stack.blocks[number], stack.block_name(number), shared)
