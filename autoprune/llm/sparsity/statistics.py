"""What layers read on a calibration text: squared norms or second moments of their inputs, and in which order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.llm.sparsity.layers import Layer

__all__ = ["Needs", "Read", "in_order", "watched"]

Needs = Literal["nothing", "norms", "moments"]


@dataclass(eq=False)
class Read:
    """What one layer read so far.

    Attributes:
        squares: Sum over all tokens of the squared inputs, (inputs,); zeros before the first.
        moments: Sum over all tokens x of x x^T, (inputs, inputs), where wanted.
        tokens: How many tokens.
    """

    squares: Tensor
    moments: Tensor | None
    tokens: int = 0


@dataclass(eq=False)
class Watch:
    """What the layers of a block read.

    Attributes:
        reads: Name of a layer -> what it read; a layer that was never called is not there.
        sources: Name of a layer -> id of the tensor that it read last, in the order of the calls.
    """

    reads: dict[str, Read] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)  # so that no id is given twice


@contextlib.contextmanager
def watched(layers: Sequence[Layer], needs: Needs) -> Iterator[Watch]:
    """Watch what layers read while their block runs.

    Args:
        layers: Of the block.
        needs: What is summed.

    Raises:
        InputError: From the run, if an input is not finite; the layer is named.
    """
    watch = Watch()
    handles = [layer.module.register_forward_pre_hook(_hook(layer, watch, needs)) for layer in layers]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()
        watch.alive.clear()


def _hook(layer: Layer, watch: Watch, needs: Needs) -> Any:
    def read(module: Any, args: tuple[Any, ...]) -> None:
        rows = args[0].detach().reshape(-1, args[0].shape[-1])
        if not watch.sources.get(layer.name):
            watch.sources[layer.name] = id(args[0])
            watch.alive.append(args[0])
        if needs == "nothing":
            return
        own = watch.reads.setdefault(layer.name, _fresh(rows, needs))
        _add(own, rows.float())
        if not bool(torch.isfinite(own.squares).all()):
            raise InputError(
                f"what {layer.name} reads on the calibration text is not finite; check the model's weights"
            )

    return read


def _fresh(rows: Tensor, needs: Needs) -> Read:
    width = rows.shape[1]
    zeros = torch.zeros(width, device=rows.device)
    return Read(zeros, torch.zeros(width, width, device=rows.device) if needs == "moments" else None)


def _add(read: Read, rows: Tensor) -> None:
    read.squares += rows.square().sum(dim=0)
    if read.moments is not None:
        read.moments.addmm_(rows.T, rows)
    read.tokens += len(rows)


def in_order(layers: Sequence[Layer], watch: Watch) -> list[list[Layer]]:
    """The layers as the block calls them; those that read one tensor (queries, keys, values) in one list."""
    known = {layer.name: layer for layer in layers}
    together: dict[int, list[Layer]] = {}
    for name, source in watch.sources.items():
        together.setdefault(source, []).append(known[name])
    return list(together.values())
