"""Whole networks in, milliseconds out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.progress import Progress, no_progress
from autoprune.hardware.contract.protocol import Measurement, Protocol, TimingPlan, at_quiet
from autoprune.hardware.contract.target import Target
from autoprune.models.inputs.example import as_example
from autoprune.models.lazy import require_shapes
from autoprune.quantization.rounding import integer_layers

__all__ = ["Undecided", "least_of", "measure", "packed", "uncertainty"]

Undecided = Callable[[Sequence[Measurement]], str | None]
"""What hangs on measurements that lie too close to a limit to say on which side they are, in words; None if nothing."""

_LEAST_PASSES = 3
_ENOUGH = 0.01  # no further pass is needed once the two least latencies of every network lie so close together
_AGREEMENT = 0.03  # beyond this nothing counts as stable; a single process may be off by so much
_RESOLUTION = 0.005  # and several that agree by this


def measure(
    models: Sequence[nn.Module],
    example: Any,
    target: Target,
    plan: TimingPlan | Protocol | None = None,
    *,
    progress: Progress = no_progress,
    undecided: Undecided | None = None,
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
        progress: Called with (networks, all networks, what is done with them).
        undecided: What hangs on the measurements so far; a plan that `decides` goes on as long as something does.

    Returns:
        One measurement a network, in order. Among its conditions stand the target's fingerprint (`device`), the seconds
        that it took to load (`load_s`) and the most memory that the worker took, all networks loaded, in MiB
        (`peak_memory_mb`); None for what the device does not tell. Of several passes, their number (`passes`) and the
        share by which the two least latencies of the network differ (`passes_differ`); beyond 3 % it does not count as
        stable.

    Raises:
        InputError: If there is no network to time, or no pass.
        TargetError: If the target is not available, or failed.
    """
    plan = plan if isinstance(plan, TimingPlan) else TimingPlan(plan or Protocol())
    if not models or plan.passes < 1:
        raise InputError("there is no network to measure" if not models else f"{plan.passes} passes measure nothing")
    example = as_example(example).plain  # refuses what is none
    for model in models:
        require_shapes(model)
    target.require()
    payloads = _packed(models, example, target, progress)
    device = target.fingerprint()
    found = _passes(payloads, target, plan, progress, undecided)
    return [replace(m, conditions=replace(m.conditions, device=device)) for m in found]


def packed(model: nn.Module, example: Any, target: Target) -> bytes:
    """A network as a target's payload.

    Args:
        model: In evaluation mode.
        example: An input of the shape that is timed.
        target: What executes it.

    Raises:
        InputError: If layers round as integers do, for which the target has no kernels: it would be timed at rounding.
    """
    layers = integer_layers(model)
    if layers and not target.integers:
        some = f"{len(layers)} layer{'s' if len(layers) > 1 else ''} with integers, among them {next(iter(layers))}"
        raise InputError(
            f"{target.name} has no integer kernels that autoprune writes files for; the network has {some}"
        )
    return target.pack(model, example)


def _packed(models: Sequence[nn.Module], example: Any, target: Target, progress: Progress) -> list[bytes]:
    payloads = []
    for model in models:
        payloads.append(packed(model, example, target))
        progress(len(payloads), len(models), "networks exported")
    return payloads


def _passes(
    payloads: Sequence[bytes], target: Target, plan: TimingPlan, progress: Progress, undecided: Undecided | None
) -> list[Measurement]:
    """As many passes as the plan wants, put together."""
    taken: list[list[Measurement]] = []
    end, why = time.monotonic() + plan.seconds, ""
    while not taken or time.monotonic() < end:
        what = f"networks timed, process {len(taken) + 1} of {max(plan.passes, len(taken) + 1)}{why}"
        protocol = plan.protocol.within((end - time.monotonic()) / max(1, plan.passes - len(taken)))
        taken.append(target.time(payloads, protocol, partial(_forwarded, progress, what)))
        again = _reason_to_go_on(taken, plan, undecided)
        if again is None:
            break
        why = again
    return _together(taken, plan)


def _forwarded(progress: Progress, what: str, done: int, total: int) -> None:
    progress(done, total, what)


def _reason_to_go_on(
    taken: Sequence[Sequence[Measurement]], plan: TimingPlan, undecided: Undecided | None
) -> str | None:
    """Why another pass is needed, for people; None if none is."""
    _, differ = least_of(taken)
    if plan.decides:
        if len(taken) < plan.passes:
            return ""
        hangs = undecided(_together(taken, plan)) if undecided is not None and len(taken) < plan.most else None
        return None if hangs is None else f" ({hangs})"
    if len(taken) >= _LEAST_PASSES and differ <= _ENOUGH:
        return None
    if len(taken) < plan.passes:
        return ""
    return " (those before disagree)" if differ > _AGREEMENT and len(taken) < plan.most else None


def _together(taken: Sequence[Sequence[Measurement]], plan: TimingPlan) -> list[Measurement]:
    """The least of each network; how far its next one is from it stands among the conditions."""
    ranked = _ranked(taken)
    if max(plan.passes, len(taken)) == 1:
        return [network[0] for network in ranked]
    found = []
    for best, *others in ranked:
        differ = _difference([best, *others])
        conditions = replace(best.conditions, passes=len(taken), passes_differ=round(differ, 4))
        found.append(replace(best, stable=best.stable and differ <= _AGREEMENT, conditions=conditions))
    return found


def least_of(passes: Sequence[Sequence[Measurement]]) -> tuple[list[Measurement], float]:
    """Each network's least latency, and how far the next one is from it.

    All by the reference kernel's time in the quietest pass: where it took longer, the whole machine was slow.

    Args:
        passes: Measurements of the same networks in the same order, at least one pass.

    Returns:
        A measurement a network; and the largest difference between the two least of a network, as a share (0 for a
        single pass).
    """
    ranked = _ranked(passes)
    return [network[0] for network in ranked], max(map(_difference, ranked), default=0.0)


def _ranked(passes: Sequence[Sequence[Measurement]]) -> list[list[Measurement]]:
    """Each network's measurements, the least first, all by the reference's time in the quietest pass."""
    times = [m.conditions.reference_ms for each in passes for m in each]
    quiet = min((ms for ms in times if ms), default=None)
    return [sorted((_at(m, quiet) for m in network), key=lambda m: m.ms) for network in zip(*passes, strict=True)]


def _at(measured: Measurement, quiet: float | None) -> Measurement:
    ms = at_quiet(measured.ms, measured.conditions.reference_ms, quiet)
    if ms == measured.ms:
        return measured
    return replace(measured, ms=ms, conditions=replace(measured.conditions, reference_ms=quiet))


def _difference(ranked: Sequence[Measurement]) -> float:
    """Between the two least, as a share."""
    return max((abs(b.ms - a.ms) / (a.ms or 1.0) for a, b in pairwise(ranked[:2])), default=0.0)


def uncertainty(measured: Measurement) -> float:
    """How far a latency may be from what it is said to be, as a share: by its blocks, and by its processes."""
    if (measured.conditions.passes or 1) == 1:
        return max(_AGREEMENT, measured.spread)
    return max(_RESOLUTION, measured.conditions.passes_differ or 0.0, measured.spread / 2)
