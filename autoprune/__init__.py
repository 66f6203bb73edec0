"""autoprune: a trained network goes in, a network that meets its latency budget on the device comes out.

Names are imported when they are first used, so that `import autoprune` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.lazy import lazy_names
from autoprune.registration import register_with_gymnasium

if TYPE_CHECKING:
    from autoprune import llm, sparsity
    from autoprune.agents import Agent
    from autoprune.errors import (
        AutopruneError,
        BudgetError,
        InputError,
        Interrupted,
        PolicyMismatchError,
        TargetError,
        UnsupportedModelError,
    )
    from autoprune.hardware.contract.protocol import Measurement
    from autoprune.hardware.contract.target import Target
    from autoprune.hardware.tables.latency_table import LatencyTable
    from autoprune.models.sizes import parameter_count as params
    from autoprune.pipeline.api import (
        codesign,
        compress,
        dynamic,
        lottery,
        progressive,
        quantize,
        sensitivity,
        sparsify,
        sweep,
        work,
    )
    from autoprune.pipeline.bench.compare import bench
    from autoprune.pipeline.load import load
    from autoprune.pipeline.load import multiply_accumulates as flops
    from autoprune.pipeline.on_device import measure, profile
    from autoprune.run.experiment import Experiment
    from autoprune.space import Policy, SearchSpace
    from autoprune.techniques.apply import apply
    from autoprune.techniques.space import search_space

__all__ = [
    "Agent",
    "AutopruneError",
    "BudgetError",
    "Experiment",
    "InputError",
    "Interrupted",
    "LatencyTable",
    "Measurement",
    "Policy",
    "PolicyMismatchError",
    "SearchSpace",
    "Target",
    "TargetError",
    "UnsupportedModelError",
    "apply",
    "bench",
    "codesign",
    "compress",
    "dynamic",
    "flops",
    "llm",
    "load",
    "lottery",
    "measure",
    "params",
    "profile",
    "progressive",
    "quantize",
    "search_space",
    "sensitivity",
    "sparsify",
    "sparsity",
    "sweep",
    "work",
]

_HOMES = {
    "Agent": "autoprune.agents",
    "Experiment": "autoprune.run.experiment",
    "Measurement": "autoprune.hardware",
    "Target": "autoprune.hardware",
    "AutopruneError": "autoprune.errors",
    "BudgetError": "autoprune.errors",
    "InputError": "autoprune.errors",
    "Interrupted": "autoprune.errors",
    "LatencyTable": "autoprune.hardware",
    "Policy": "autoprune.space",
    "PolicyMismatchError": "autoprune.errors",
    "SearchSpace": "autoprune.space",
    "TargetError": "autoprune.errors",
    "UnsupportedModelError": "autoprune.errors",
    "apply": "autoprune.techniques.apply",
    "bench": "autoprune.pipeline.bench.compare",
    "codesign": "autoprune.pipeline.api",
    "compress": "autoprune.pipeline.api",
    "dynamic": "autoprune.pipeline.api",
    "flops": "autoprune.pipeline.load:multiply_accumulates",
    "load": "autoprune.pipeline.load",
    "lottery": "autoprune.pipeline.api",
    "measure": "autoprune.pipeline.on_device",
    "params": "autoprune.models.sizes:parameter_count",
    "profile": "autoprune.pipeline.on_device",
    "progressive": "autoprune.pipeline.api",
    "quantize": "autoprune.pipeline.api",
    "sensitivity": "autoprune.pipeline.api",
    "sparsify": "autoprune.pipeline.api",
    "sparsity": "autoprune.sparsity",
    "sweep": "autoprune.pipeline.api",
    "work": "autoprune.pipeline.api",
    "search_space": "autoprune.techniques.space",
    "llm": "autoprune.llm",
}


register_with_gymnasium()  # gymnasium.make("autoprune/Pruning-v0", ...) needs nothing but `import autoprune`


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
