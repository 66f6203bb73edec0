"""The layers of a network with 2:4 weights, dense against sparse on a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from autoprune.hardware import Protocol, Target
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.sparse_kernels.choice import chosen_layers
from autoprune.hardware.sparse_kernels.conversion import gpu_here
from autoprune.hardware.sparse_kernels.rules import Gpu
from autoprune.hardware.sparse_kernels.shapes import sparse_layers
from autoprune.pipeline.reporter import Reporter

__all__ = ["layer_rows", "two_of_four_layers"]


def two_of_four_layers(network: nn.Module, example: Any) -> dict[str, Layer | str]:
    """The layers of a network with 2:4 weights, at the batch of an example; empty where no weight is 2:4."""
    found = sparse_layers(network, example)
    return found if any(isinstance(layer, Layer) for layer in found.values()) else {}


def layer_rows(
    layers: Mapping[str, Layer | str],
    target: Target,
    repetitions: int,
    reporter: Reporter,
    gpu: Callable[[], Gpu] = gpu_here,
) -> list[dict[str, Any]]:
    """A row for each layer: both latencies, their ratio, what was chosen, and why it is dense.

    Args:
        layers: Of `two_of_four_layers`.
        target: Where; it works here.
        repetitions: Pairs of timings of each layer.
        reporter: Shows progress.
        gpu: What is asked for the GPU.
    """
    with reporter.stage("layers", f"layers with dense and with sparse kernels on {target.spec}", len(layers)) as bar:
        choices = chosen_layers(layers, target, gpu, Protocol.entries(), repetitions, bar)
    return [choice.to_json() for choice in choices]
