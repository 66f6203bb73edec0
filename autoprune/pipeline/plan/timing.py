"""How long the target's part of a job takes: its profile, and the sessions in which networks are verified."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autoprune.hardware import LatencyTable, Measurement, Protocol, Target, Timer
from autoprune.hardware.tables.entries import call_overhead, measure_layers, times_layers
from autoprune.hardware.tables.lowering import measurable, priced_operators
from autoprune.hardware.tables.profile import ProfileSettings
from autoprune.hardware.tables.sampling import sample_layers
from autoprune.hardware.timing.effort import Effort
from autoprune.models.inputs.example import as_example
from autoprune.pipeline.plan.clock import Clock

__all__ = ["TargetTimes", "profile_seconds", "times_on", "verification_seconds"]

_TRIED = 8  # layers that are timed
_AGAIN = 1.2  # layers are measured, and a fifth of them once more
_BATCH = 6  # networks of a session beside the dense one, as finalists are timed
_FURTHER = 3  # sessions with finalists that were widened, and with uniform policies


@dataclass(frozen=True)
class TargetTimes:
    """Single steps on the target, in seconds of the wall clock.

    Attributes:
        dense: The dense network's latency.
        start: Until a process is ready.
        network: A network in one process, of many.
        pack: To export a network.
        layer: A layer.
        layers: How many there are to measure.
    """

    dense: Measurement
    start: float
    network: float
    pack: float
    layer: float
    layers: int


def times_on(target: Target, clock: Clock, effort: Effort) -> TargetTimes:
    """Export and time the dense and the small network, and a few layers."""
    example, protocol = clock.task.timed_example, Protocol.networks()
    start = time.perf_counter()
    payloads = [target.pack(clock.task.model, example), target.pack(clock.small, example)]
    packed = (time.perf_counter() - start) / 2
    with target.session() as timer:
        marks = [time.perf_counter()]
        timer.time(payloads[:1], protocol)
        marks.append(time.perf_counter())
        dense, _ = timer.time(payloads, protocol)
        marks.append(time.perf_counter())
        network = (marks[2] - marks[1]) / 2
        layer, layers = _layers(target, timer, clock, effort)
    return TargetTimes(dense, max(0.0, marks[1] - marks[0] - network), network, packed, layer, layers)


def _layers(target: Target, timer: Timer, clock: Clock, effort: Effort) -> tuple[float, int]:
    """Seconds that a layer takes, and how many are measured; of a target that times no layer alone there are none."""
    batch = as_example(clock.task.timed_example).batch
    variants = measurable(clock.stack.effects, target.variants)
    operators = priced_operators(clock.analysis, clock.space, batch, target.fused, variants)
    every = list(LatencyTable(clock.space, operators, target.fingerprint()).layers().values())
    if not times_layers(target, every):
        return 0.0, 0
    draw = np.random.default_rng(0)
    chosen = sample_layers(every, effort.entries, draw)
    tried = [chosen[int(place)] for place in draw.permutation(len(chosen))[:_TRIED]]
    protocol = ProfileSettings.of(effort).entries
    overhead = call_overhead(timer, target, tried[0], protocol)
    start = time.perf_counter()
    for _ in measure_layers(tried, target, timer, overhead, protocol):
        pass
    return (time.perf_counter() - start) / len(tried), len(chosen)


def profile_seconds(times: TargetTimes, effort: Effort) -> float:
    """Seconds of a profile, as far as it may go."""
    return min(effort.of_profile, sum(_profile(times, ProfileSettings.of(effort))))


def _profile(times: TargetTimes, settings: ProfileSettings) -> Iterator[float]:
    for networks in (settings.fit_runs, settings.held_out_runs):
        yield networks * times.pack + settings.passes * (times.start + networks * times.network)
    yield times.start + _AGAIN * times.layers * times.layer


def verification_seconds(times: TargetTimes, effort: Effort, *, timed: bool, searched: bool, others: float) -> float:
    """Seconds of all sessions with networks, as far as they may go.

    Args:
        times: Single steps.
        effort: How much is timed.
        timed: Whether the budget is on what is timed; else the finished networks alone are.
        searched: Whether there are finalists to be measured.
        others: Seconds of all else in the job but the profile.
    """

    def session(networks: int, passes: float) -> float:
        return networks * times.pack + passes * (times.start + networks * times.network)

    if not timed:
        return session(4, 1)
    passes = (effort.passes + effort.most) / 2  # as many as it takes to decide
    sessions = session(_BATCH + 1, passes) + _FURTHER * session(3, passes) if searched else session(2, passes)
    wanted = sessions + session(4, (effort.passes + effort.last) / 2)
    return min(wanted, effort.of_job(others) - profile_seconds(times, effort))
