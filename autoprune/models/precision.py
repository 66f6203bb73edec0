"""When to compute in bfloat16, and how.

Weights stay in float32; `torch.autocast` runs convolutions and matrix products in bfloat16. Where the processor has
the instructions (AVX512-BF16 or AMX) that halves the time of training ResNet-20; where it has not, bfloat16 is emulated
and slower than float32, so the default asks the processor. On CUDA the answer is the device's own.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager

import torch
from torch import nn

__all__ = ["autocast", "bf16_is_fast", "device_of", "uses_bf16"]

_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of oneDNN's ONEDNN_MAX_CPU_ISA that leave it without instructions for bfloat16's products."""


def bf16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 has instructions of its own on this device."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    if _held_back():
        return False
    # torch has no public question for this flag; a build without the private one answers no.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


def _held_back() -> bool:
    """Whether the user keeps oneDNN, which multiplies in bfloat16, from the processor's newer instructions."""
    given = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return given.upper() in _WITHOUT_BF16


def autocast(device: torch.device, bf16: bool | None) -> AbstractContextManager[object]:
    """A context that computes in bfloat16 where wanted.

    Args:
        device: Where the model lives.
        bf16: True or False to force it; None asks `bf16_is_fast`.
    """
    wanted = uses_bf16(device, bf16)
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else contextlib.nullcontext()


def uses_bf16(device: torch.device, bf16: bool | None) -> bool:
    """The setting itself, or for None whether the device is fast in bfloat16."""
    return bf16_is_fast(device) if bf16 is None else bf16


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU when it has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
