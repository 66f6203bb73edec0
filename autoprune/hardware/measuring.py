"""Whole networks in, milliseconds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.hardware.base import Progress, Target
from autoprune.hardware.protocol import Measurement, Protocol

__all__ = ["measure"]


def measure(
    models: Sequence[nn.Module],
    example: Tensor,
    target: Target,
    protocol: Protocol | None = None,
    *,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Time networks on a target, all interleaved in one fresh process, so that they can be compared.

    Args:
        models: The networks; left as they were. They are timed in evaluation mode, BatchNorm folded.
        example: An input with the batch dimension that is timed, for all of them.
        target: Where.
        protocol: How; by default blocks of 0.12 s until three agree within 1.5 %.
        progress: Called with (settled networks, all networks).

    Returns:
        One measurement a network, in order. Among its conditions stand the target's fingerprint (`device`), the seconds
        that it took to load (`load_s`) and the most memory that the worker took, all networks loaded, in MiB
        (`peak_memory_mb`); None for what the device does not tell.

    Raises:
        InputError: If there is no network to time.
        TargetError: If the target is not available, or failed.
    """
    if not models:
        raise InputError("there is no network to measure")
    target.require()
    payloads = [target.pack(model, example) for model in models]
    device = target.fingerprint()
    results = target.time(payloads, protocol or Protocol(), progress)
    always = {"peak_memory_mb": None, "load_s": None}  # what a device that cannot tell has not told
    return [replace(result, conditions={**always, **result.conditions, "device": device}) for result in results]
