"""What could change a result on this machine, so that a resumed run can say what is different."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

__all__ = ["environment"]

_RECORDED_PACKAGES = ("torch", "numpy", "gymnasium", "stable-baselines3", "optuna", "onnx", "onnxruntime", "scipy")


def environment() -> dict[str, Any]:
    """Versions, threads, the processor's instruction set, and the precision that training and scoring take from it."""
    import torch

    from autoprune.models.precision import bf16_is_fast

    return {
        "python": platform.python_version(),
        **dict(_versions()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "precision": "bfloat16" if bf16_is_fast(torch.device("cpu")) else "float32",
        "train_threads": torch.get_num_threads(),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in _RECORDED_PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
