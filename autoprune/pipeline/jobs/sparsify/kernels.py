"""What runs each sparse layer on the run's target: its sparse kernels where they were measured to be faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from autoprune.hardware import Protocol
from autoprune.hardware.sparse_kernels.choice import chosen_layers
from autoprune.hardware.sparse_kernels.conversion import gpu_here
from autoprune.hardware.sparse_kernels.rules import SPARSE_VARIANT, Gpu
from autoprune.hardware.sparse_kernels.shapes import sparse_layers
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter

__all__ = ["kernel_rows"]


def kernel_rows(
    problem: Problem, network: nn.Module, reporter: Reporter, gpu: Callable[[], Gpu] = gpu_here
) -> dict[str, dict[str, Any]]:
    """Dense against sparse kernels, layer by layer, at the batch that the run times.

    Args:
        problem: The run's.
        network: The finished one.
        reporter: Shows progress.
        gpu: What is asked for the GPU.

    Returns:
        Name of a weight -> a row as `LayerChoice.to_json` gives it; empty for a target without sparse kernels.

    Raises:
        TargetError: If the target has such kernels, and there is no GPU.
    """
    if SPARSE_VARIANT not in problem.target.variants:
        return {}

    def measured() -> dict[str, dict[str, Any]]:
        layers = sparse_layers(network, problem.task.timed_example)
        with reporter.stage("kernels", "timing layers with dense and with sparse kernels", len(layers)) as bar:
            choices = chosen_layers(layers, problem.target, gpu, Protocol.entries(), progress=bar)
        return {f"{choice.name}.weight": choice.to_json() for choice in choices}

    found: dict[str, dict[str, Any]] = problem.run.once("sparse kernels", measured)
    return found
