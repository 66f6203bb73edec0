"""Which NVIDIA GPU this is, as nvidia-smi says it: for fingerprints, without loading a runtime. No torch."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass

__all__ = ["Gpu", "first_gpu"]


@dataclass(frozen=True)
class Gpu:
    """What of a GPU decides how fast something runs on it.

    Attributes:
        name: The product.
        capability: Compute capability, such as `9.0`.
        driver: Version of the driver.
    """

    name: str
    capability: str
    driver: str


def first_gpu() -> Gpu | None:
    """The GPU that CUDA calls number 0, CUDA_VISIBLE_DEVICES minded; None where nvidia-smi lists none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    program = shutil.which("nvidia-smi")
    return _asked(program, visible) if program and visible and visible != "-1" else None


@functools.cache
def _asked(program: str, gpu: str) -> Gpu | None:
    question = [program, f"--id={gpu}", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    words = [word.strip() for word in answer.stdout.strip().rsplit(",", 2)]
    return Gpu(*words) if len(words) == 3 else None
