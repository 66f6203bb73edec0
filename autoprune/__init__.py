"""autoprune: a trained network goes in, a network that meets its latency budget on the device comes out.

Names are imported when they are first used, so that `import autoprune` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autoprune.registration import register

if TYPE_CHECKING:
    from autoprune.errors import (
        AutopruneError,
        BudgetError,
        InputError,
        Interrupted,
        PolicyMismatchError,
        TargetError,
        UnsupportedModelError,
    )
    from autoprune.hardware.table import LatencyTable
    from autoprune.pipeline.api import compress, measure, profile
    from autoprune.pipeline.bench import bench
    from autoprune.pipeline.files import load
    from autoprune.pipeline.files import multiply_accumulates as flops
    from autoprune.pipeline.files import parameters as params
    from autoprune.pipeline.progressive_api import progressive
    from autoprune.pruning.structured import apply, search_space
    from autoprune.space import Policy, SearchSpace

__all__ = [
    "AutopruneError",
    "BudgetError",
    "InputError",
    "Interrupted",
    "LatencyTable",
    "Policy",
    "PolicyMismatchError",
    "SearchSpace",
    "TargetError",
    "UnsupportedModelError",
    "apply",
    "bench",
    "compress",
    "flops",
    "load",
    "measure",
    "params",
    "profile",
    "progressive",
    "search_space",
]

_HOMES = {
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
    "apply": "autoprune.pruning.structured",
    "bench": "autoprune.pipeline.bench",
    "compress": "autoprune.pipeline.api",
    "flops": "autoprune.pipeline.files:multiply_accumulates",
    "load": "autoprune.pipeline.files",
    "measure": "autoprune.pipeline.api",
    "params": "autoprune.pipeline.files:parameters",
    "profile": "autoprune.pipeline.api",
    "progressive": "autoprune.pipeline.progressive_api",
    "search_space": "autoprune.pruning.structured",
}


register()  # gymnasium.make("autoprune/Pruning-v0", ...) needs nothing but `import autoprune`


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autoprune' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
