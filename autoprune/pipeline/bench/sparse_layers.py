"""The layers of a network with 2:4 weights, dense against sparse on a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoprune.hardware import Protocol, Target
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.sparse_kernels.choice import chosen_layers
from autoprune.hardware.sparse_kernels.conversion import gpu_here
from autoprune.hardware.sparse_kernels.rules import Gpu
from autoprune.pipeline.reporter import Reporter

__all__ = ["layer_rows"]


def layer_rows(
    layers: Mapping[str, Layer | str],
    target: Target,
    repetitions: int,
    reporter: Reporter,
    gpu: Callable[[], Gpu] = gpu_here,
) -> list[dict[str, Any]]:
    """A row for each layer: both latencies, their ratio, what was chosen, and why it is dense.

    Args:
        layers: As `sparse_layers` gives them.
        target: Where; it works here.
        repetitions: Pairs of timings of each layer.
        reporter: Shows progress.
        gpu: What is asked for the GPU.
    """
    with reporter.stage("layers", f"layers with dense and with sparse kernels on {target.spec}", len(layers)) as bar:
        choices = chosen_layers(layers, target, gpu, Protocol.entries(), repetitions, bar)
    return [choice.to_json() for choice in choices]
