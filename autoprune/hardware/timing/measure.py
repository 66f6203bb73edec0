"""Whole networks in, milliseconds out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.contract.target import Progress, Target

__all__ = ["least_of", "measure"]

_LEAST_PASSES = 3
_ENOUGH = 0.01  # no further pass is needed once the two least latencies of every network lie so close together
_AGREEMENT = 0.03  # beyond this nothing counts as stable


def measure(
    models: Sequence[nn.Module],
    example: Tensor,
    target: Target,
    protocol: Protocol | None = None,
    *,
    passes: int = 1,
    most: int | None = None,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Time networks on a target, all interleaved in one fresh process, so that they can be compared.

    One process is not enough for a decision. A machine has spells of ten seconds and more in which all blocks of a pass
    agree, and are wrong: beside a busy neighbour ResNet-20 took 10 % longer and its half 36 %. And where a network's
    tensors come to lie differs from process to process, and with it the time of many small kernels by 3 %, of each
    network for itself. Both only add, so of several passes the least latency of each network counts.

    Args:
        models: The networks; left as they were. They are timed in evaluation mode, BatchNorm folded.
        example: An input with the batch dimension that is timed, for all of them.
        target: Where.
        protocol: How; by default blocks of 0.12 s until three agree within 1.5 %.
        passes: Processes, one after the other. Less than these, but three, are enough once the two least latencies of
            every network lie within 1 % of each other.
        most: Processes at most where after these the two least of a network still are more than 3 % apart; no more by
            default.
        progress: Called with (settled networks, all networks).

    Returns:
        One measurement a network, in order. Among its conditions stand the target's fingerprint (`device`), the seconds
        that it took to load (`load_s`) and the most memory that the worker took, all networks loaded, in MiB
        (`peak_memory_mb`); None for what the device does not tell. Of several passes, their number (`passes`) and the
        largest share by which the two least latencies of a network differ (`passes_differ`); beyond 3 % nothing counts
        as stable.

    Raises:
        InputError: If there is no network to time, or no pass.
        TargetError: If the target is not available, or failed.
    """
    if not models or passes < 1:
        raise InputError("there is no network to measure" if not models else f"{passes} passes measure nothing")
    target.require()
    payloads = [target.pack(model, example) for model in models]
    device = target.fingerprint()
    taken: list[list[Measurement]] = []
    differ = math.inf
    while len(taken) < passes or (differ > _AGREEMENT and len(taken) < (most or passes)):
        taken.append(target.time(payloads, protocol or Protocol(), progress))
        best, differ = least_of(taken)
        if len(taken) >= _LEAST_PASSES and differ <= _ENOUGH:
            break
    always = {"peak_memory_mb": None, "load_s": None}  # what a device that cannot tell has not told
    told: dict[str, object] = {"device": device}
    if passes > 1:
        told |= {"passes": len(taken), "passes_differ": round(differ, 4)}
    return [
        replace(m, stable=m.stable and differ <= _AGREEMENT, conditions={**always, **m.conditions, **told})
        for m in best
    ]


def least_of(passes: Sequence[Sequence[Measurement]]) -> tuple[list[Measurement], float]:
    """Each network's least latency, and how far the next one is from it.

    Args:
        passes: Measurements of the same networks in the same order, at least one pass.

    Returns:
        A measurement a network; and the largest difference between the two least of a network, as a share (0 for a
        single pass).
    """
    ranked = [sorted(network, key=lambda m: m.ms) for network in zip(*passes, strict=True)]
    differences = [abs(b.ms - a.ms) / (a.ms or 1.0) for network in ranked for a, b in pairwise(network[:2])]
    return [network[0] for network in ranked], max(differences, default=0.0)
