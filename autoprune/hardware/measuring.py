"""Whole networks in, milliseconds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.hardware.base import Progress, Target
from autoprune.hardware.protocol import Measurement, Protocol

__all__ = ["measure", "quietest"]

_AGREEMENT = 0.03  # two passes agree when no network differs by more


def measure(
    models: Sequence[nn.Module],
    example: Tensor,
    target: Target,
    protocol: Protocol | None = None,
    *,
    passes: int = 1,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Time networks on a target, all interleaved in one fresh process, so that they can be compared.

    A machine has spells of ten seconds and more in which all blocks of a pass agree, and are wrong: beside a busy
    neighbour ResNet-20 took 10 % longer and its half 36 %. So a decision wants several passes.

    Args:
        models: The networks; left as they were. They are timed in evaluation mode, BatchNorm folded.
        example: An input with the batch dimension that is timed, for all of them.
        target: Where.
        protocol: How; by default blocks of 0.12 s until three agree within 1.5 %.
        passes: Most processes, one after the other. With more than one, there are at least two, and no more once the
            two quietest agree within 3 % on every network; the quietest pass is the answer, as a whole, so that its
            networks can still be compared.
        progress: Called with (settled networks, all networks).

    Returns:
        One measurement a network, in order. Among its conditions stand the target's fingerprint (`device`), the seconds
        that it took to load (`load_s`) and the most memory that the worker took, all networks loaded, in MiB
        (`peak_memory_mb`); None for what the device does not tell. Of several passes, their number (`passes`) and the
        share by which the two quietest differ (`passes_differ`); beyond 3 % nothing counts as stable.

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
    for _ in range(passes):
        taken.append(target.time(payloads, protocol or Protocol(), progress))
        if len(taken) > 1 and quietest(taken)[1] <= _AGREEMENT:
            break
    best, differ = quietest(taken)
    always = {"peak_memory_mb": None, "load_s": None}  # what a device that cannot tell has not told
    told: dict[str, object] = {"device": device}
    if passes > 1:
        told |= {"passes": len(taken), "passes_differ": round(differ, 4)}
    return [
        replace(m, stable=m.stable and differ <= _AGREEMENT, conditions={**always, **m.conditions, **told})
        for m in best
    ]


def quietest(passes: Sequence[Sequence[Measurement]]) -> tuple[list[Measurement], float]:
    """The pass in which the networks took the least time, and how far the next one is from it.

    Args:
        passes: Measurements of the same networks in the same order, at least one pass.

    Returns:
        The pass with the least sum of its networks' latencies, each as a share of the least of that network; and the
        largest difference of a network between it and the next quietest pass, as a share (0 for a single pass).
    """
    least = [min(m.ms for m in network) or 1.0 for network in zip(*passes, strict=True)]
    ranked = sorted(passes, key=lambda taken: sum(m.ms / low for m, low in zip(taken, least, strict=True)))
    differences = [
        abs(a.ms - b.ms) / low
        for one, other in pairwise(ranked[:2])
        for a, b, low in zip(one, other, least, strict=True)
    ]
    return list(ranked[0]), max(differences, default=0.0)
