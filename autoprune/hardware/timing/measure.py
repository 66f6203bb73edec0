"""Whole networks in, milliseconds out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.hardware.contract.protocol import Measurement, Protocol, TimingPlan
from autoprune.hardware.contract.target import Progress, Target

__all__ = ["least_of", "measure"]

_LEAST_PASSES = 3
_ENOUGH = 0.01  # no further pass is needed once the two least latencies of every network lie so close together
_AGREEMENT = 0.03  # beyond this nothing counts as stable


def measure(
    models: Sequence[nn.Module],
    example: Tensor,
    target: Target,
    plan: TimingPlan | Protocol | None = None,
    *,
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
        plan: How; a protocol alone is one pass. By default one of blocks of 0.12 s until three agree within 1.5 %.
        progress: Called with (stable networks, all networks).

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
    plan = plan if isinstance(plan, TimingPlan) else TimingPlan(plan or Protocol())
    if not models or plan.passes < 1:
        raise InputError("there is no network to measure" if not models else f"{plan.passes} passes measure nothing")
    target.require()
    payloads = [target.pack(model, example) for model in models]
    device = target.fingerprint()
    taken: list[list[Measurement]] = []
    differ = math.inf
    while len(taken) < plan.passes or (differ > _AGREEMENT and len(taken) < max(plan.most, plan.passes)):
        taken.append(target.time(payloads, plan.protocol, progress))
        best, differ = least_of(taken)
        if len(taken) >= _LEAST_PASSES and differ <= _ENOUGH:
            break
    stable = differ <= _AGREEMENT
    several: dict[str, Any] = {"passes": len(taken), "passes_differ": round(differ, 4)} if plan.passes > 1 else {}
    known = [replace(m.conditions, device=device, **several) for m in best]
    return [replace(m, stable=m.stable and stable, conditions=each) for m, each in zip(best, known, strict=True)]


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
