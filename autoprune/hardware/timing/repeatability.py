"""How repeatable timing is on this machine now: one network, several fresh processes, and what disturbs it.

A table is no better than the machine that it was measured on. The spread between processes shows what the spread
inside one hides: memory that was laid out otherwise, a frequency that changed, a neighbour who came and went.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from autoprune.errors import InputError, TargetError
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.contract.target import Target
from autoprune.hardware.sensors.telemetry import Recorder, Sensors, Telemetry

__all__ = ["Repeatability", "check", "judge", "what_disturbs"]

GOOD, USABLE = 0.02, 0.05  # largest difference between processes, as a share
_LEAST_ROUNDS = 2
_STOLEN, _BUSY = 0.02, 1.25  # share of stolen time; runnable programs a core

Progress = Callable[[int, int, str], None]  # (done, all, what)


@dataclass(frozen=True)
class Repeatability:
    """What several processes said about one network on one target.

    Attributes:
        target: The target's spec.
        ms: Least latency of any process.
        clock: Which clock it was taken by.
        between: Largest difference between processes, as a share of `ms`.
        inside: Largest spread inside one process, as a share.
        stable: Processes in which the protocol's stopping rule was met.
        processes: How many there were.
        preemptions: Of all workers while they timed; None where the machine does not count them.
    """

    target: str
    ms: float
    clock: str
    between: float
    inside: float
    stable: int
    processes: int
    preemptions: int | None

    @property
    def grade(self) -> str:
        """`good`, `usable` or `noisy`."""
        if self.between <= GOOD and self.stable == self.processes:
            return "good"
        return "usable" if self.between <= USABLE and self.stable >= self.processes - 1 else "noisy"

    def figures(self) -> str:
        """The figures in one line."""
        preempted = "" if self.preemptions is None else f", {self.preemptions} preemptions"
        return (
            f"{self.ms:.4g} ms ({self.clock}), {self.processes} processes within {self.between:.1%}, each within"
            f" {self.inside:.1%}, {self.stable} stable{preempted}"
        )

    def verdict(self, disturbance: str | None) -> str:
        """One line: whether tables can be made here now, and if not, what to do.

        Args:
            disturbance: What `what_disturbs` says.
        """
        if self.grade == "good":
            return f"good for tables: differences above {2 * max(self.between, 0.005):.0%} mean something"
        if self.grade == "usable":
            return f"usable: differences below {2 * self.between:.0%} may be noise; tables average it out"
        return f"noisy: {disturbance or 'nothing says why; try again later, or with one thread'}"


def judge(target: str, results: Sequence[Measurement]) -> Repeatability:
    """Put together what several processes measured of the same network.

    Args:
        target: The target's spec.
        results: One measurement a process.

    Raises:
        InputError: If there are fewer than two.
        TargetError: If a latency is zero.
    """
    if len(results) < _LEAST_ROUNDS:
        raise InputError("steadiness shows between processes: at least 2 are needed")
    times = [result.ms for result in results]
    if min(times) <= 0:
        raise TargetError(f"target {target!r} said that a network takes no time at all")
    counts = [result.conditions.get("preemptions") for result in results]
    known = [int(count) for count in counts if count is not None]
    return Repeatability(
        target=target,
        ms=min(times),
        clock=results[0].clock,
        between=(max(times) - min(times)) / min(times),
        inside=max(result.spread for result in results),
        stable=sum(result.stable for result in results),
        processes=len(results),
        preemptions=sum(known) if len(known) == len(counts) else None,
    )


def what_disturbs(telemetry: Telemetry, throttled: str | None, cores: int | None = None) -> str | None:
    """The likeliest reason for noise and what to do about it, in one line; None if no signal shows any.

    Args:
        telemetry: Of the time in which it was measured.
        throttled: What `Sensors.throttled` said.
        cores: Of this machine.
    """
    cores = cores or os.cpu_count() or 1
    stolen, load = telemetry.stolen.value or 0.0, telemetry.load.value or 0.0
    if throttled is not None:
        return f"the device is throttled ({throttled}); let it cool, or lower its load"
    if (telemetry.throttle_events.value or 0) > 0:
        return "the processor slowed down for heat; let it cool, or fix its frequency"
    if (telemetry.quota_throttled_s.value or 0) > 0.01 * telemetry.seconds:
        return f"the container's CPU quota stopped it for {telemetry.quota_throttled_s.value:.1f} s; raise the quota"
    if stolen > _STOLEN:
        return f"the hypervisor gave {stolen:.0%} of the time to others; use a quieter host"
    if load > _BUSY * cores:
        return f"other programs are running (load {load:.1f} on {cores} cores); stop them"
    return None


def check(
    targets: Sequence[Target],
    model: nn.Module,
    example: Any,
    *,
    processes: int = 3,
    seconds: float = 30.0,
    protocol: Protocol | None = None,
    sensors: Sensors | None = None,
    progress: Progress = lambda done, total, what: None,
) -> tuple[dict[str, Repeatability | TargetError], Telemetry, str | None]:
    """Time one network in several fresh processes a target, the targets in turn.

    Args:
        targets: Targets that are available.
        model: What is timed.
        example: An input of it.
        processes: How many a target; at least 2.
        seconds: Once they are spent, no further round is begun; two rounds there are in any case.
        protocol: How each process times.
        sensors: Where to look for disturbances; by default those of the only target, or of this machine.
        progress: Called with (processes done, all, what).

    Returns:
        Repeatability, or the error of a target that failed, by spec; what the machine said in the meantime; and
        what disturbs it, with what to do, if a signal shows it.

    Raises:
        InputError: If fewer than 2 processes are asked for.
    """
    if processes < _LEAST_ROUNDS:
        raise InputError("steadiness shows between processes: at least 2 are needed")
    if sensors is None:
        sensors = targets[0].sensors() if len(targets) == 1 else Sensors()
    protocol = protocol or Protocol(block=0.04, most_blocks=12)
    start = time.monotonic()
    results: dict[str, list[Measurement]] = {target.spec: [] for target in targets}
    failed: dict[str, Repeatability | TargetError] = {}
    payloads: dict[str, bytes] = {}
    with Recorder(sensors) as recorder:
        for round_ in range(processes):
            if round_ >= _LEAST_ROUNDS and time.monotonic() - start > seconds:
                break
            for place, target in enumerate(targets):
                name = target.spec
                progress(round_ * len(targets) + place, processes * len(targets), name)
                if name in failed:
                    continue
                try:
                    payloads[name] = payloads.get(name) or target.pack(model, example)
                    results[name] += target.time([payloads[name]], protocol)
                except TargetError as error:
                    failed[name] = error
        throttled = sensors.throttled()
    telemetry = recorder.result()
    judged = {name: failed.get(name) or judge(name, each) for name, each in results.items()}
    return judged, telemetry, what_disturbs(telemetry, throttled)
