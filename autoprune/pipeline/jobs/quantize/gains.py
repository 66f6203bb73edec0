"""Milliseconds of each layer alone on the target, in float32 and in integers."""

from __future__ import annotations

from typing import Any

from torch import nn

from autoprune.hardware import Protocol
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.sparse_kernels.choice import measured_pairs
from autoprune.hardware.sparse_kernels.shapes import called_layers
from autoprune.pipeline.jobs.quantize.trials import Trial, Workbench
from autoprune.pipeline.reporter import Reporter

__all__ = ["layer_gains"]

_PAIRS = 3


def layer_gains(
    bench: Workbench, network: nn.Module, trial: Trial, reporter: Reporter
) -> dict[str, tuple[float, float] | str]:
    """What each layer takes alone; kept in the run.

    Args:
        bench: The run's.
        network: Before quantization.
        trial: What was chosen; layers that stay float32 are timed, too.
        reporter: Shows progress.

    Returns:
        Name of the module -> milliseconds in float32 and in integers; or why it was not timed.
    """

    def compute() -> dict[str, Any]:
        layers = called_layers(network, bench.task.timed_example)
        alone = [layer for layer in layers.values() if isinstance(layer, Layer)]
        with reporter.stage("layers", "timing layers alone", len({layer.key for layer in alone})) as bar:
            pairs = measured_pairs(bench.target, alone, Protocol.entries(), _PAIRS, bar, variant="int8")
        found: dict[str, Any] = {}
        for name, layer in layers.items():
            pair = layer if isinstance(layer, str) else pairs[layer.key]
            found[name] = pair if isinstance(pair, str) else list(pair.medians)
        return found

    stored = bench.run.once("quantize layers", compute)
    return {name: each if isinstance(each, str) else (each[0], each[1]) for name, each in stored.items()}
