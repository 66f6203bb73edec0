"""Clocks for one sample: CPU time of a thread or a process, wall-clock time. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from autoprune.hardware.sensors.counters import preemptions

__all__ = ["Clock", "CpuClock", "ProcessClock", "WallClock"]


class Clock(Protocol):
    """Times a few calls in a row."""

    name: str

    def sample(self, call: Callable[[], object], loops: int) -> tuple[float, bool]:
        """Seconds that `loops` calls took, and whether nothing disturbed them."""


class CpuClock:
    """CPU time of the calling thread: blind to preemption, right for single-threaded work only."""

    name = "cpu"

    def sample(self, call: Callable[[], object], loops: int) -> tuple[float, bool]:
        """Seconds of CPU time for `loops` calls; never disturbed."""
        start = time.thread_time_ns()
        for _ in range(loops):
            call()
        return (time.thread_time_ns() - start) * 1e-9, True


class ProcessClock:
    """CPU time of all threads of the process: for a runtime that computes in one thread of its own."""

    name = "process"

    def sample(self, call: Callable[[], object], loops: int) -> tuple[float, bool]:
        """Seconds of CPU time for `loops` calls; never disturbed."""
        start = time.process_time_ns()
        for _ in range(loops):
            call()
        return (time.process_time_ns() - start) * 1e-9, True


class WallClock:
    """Wall-clock time; a sample in which the process was preempted counts as disturbed."""

    name = "wall"

    def sample(self, call: Callable[[], object], loops: int) -> tuple[float, bool]:
        """Seconds of wall-clock time for `loops` calls, and whether the process kept its cores."""
        before = preemptions()
        start = time.perf_counter_ns()
        for _ in range(loops):
            call()
        taken = (time.perf_counter_ns() - start) * 1e-9
        return taken, preemptions() == before
