"""Clocks for one sample, and what the machine says about its own state. No torch."""

from __future__ import annotations

import functools
import importlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

__all__ = [
    "Clock",
    "CpuClock",
    "ProcessClock",
    "WallClock",
    "counters",
    "cpu_flags",
    "cpu_model",
    "load_average",
    "peak_memory_mb",
    "preemptions",
]

try:  # absent on Windows
    resource: Any = importlib.import_module("resource")
except ImportError:
    resource = None

# Instruction sets that change which kernels a runtime picks.
_FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16")
_ARM_FLAGS = ("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2")


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
    """FeasibleActions-clock time; a sample in which the process was preempted counts as disturbed."""

    name = "wall"

    def sample(self, call: Callable[[], object], loops: int) -> tuple[float, bool]:
        """Seconds of wall-clock time for `loops` calls, and whether the process kept its cores."""
        before = preemptions()
        start = time.perf_counter_ns()
        for _ in range(loops):
            call()
        taken = (time.perf_counter_ns() - start) * 1e-9
        return taken, preemptions() == before


def preemptions() -> int:
    """How often this process has lost a core against its will; 0 where the system does not count."""
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw) if resource else 0


def counters() -> dict[str, int | None]:
    """Preemptions and page faults of this process so far, stolen ticks of the machine; None where unknown."""
    usage = resource.getrusage(resource.RUSAGE_SELF) if resource else None
    return {
        "preemptions": int(usage.ru_nivcsw) if usage else None,
        "page_faults": int(usage.ru_minflt + usage.ru_majflt) if usage else None,
        "stolen_ticks": _stolen_ticks(),
    }


def _stolen_ticks() -> int | None:
    """Time the hypervisor gave to others, in ticks, over all cores."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as lines:
            return int(lines.readline().split()[8])
    except (OSError, IndexError, ValueError):
        return None


def peak_memory_mb() -> float | None:
    """The most memory that this process has had resident, in MiB; None where the system does not say.

    Linux keeps it in VmHWM: there `ru_maxrss` of a process that was just started is its parent's.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except (OSError, IndexError, ValueError):
        pass  # not Linux
    if resource is None:
        return None
    bytes_each = 1 if sys.platform == "darwin" else 1024
    return round(int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * bytes_each / 2**20, 1)


def load_average() -> float | None:
    """Runnable processes of the last minute, or None."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


_NUMBERS = ("cpu family", "model", "CPU implementer", "CPU part", "CPU variant", "CPU revision")


def _cpuinfo() -> dict[str, str]:
    """What the system says of the first core."""
    first = _text("/proc/cpuinfo").split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


@functools.cache
def _text(path: str) -> str:
    """A file's text, without the zero at the end of those of a device tree; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").rstrip("\0")
    except OSError:
        return ""


def cpu_model() -> str:
    """The processor's name with what else tells it from others: a table of one must not serve another.

    x86 has a name, with family and model where that says little; ARM has numbers for each kind of core, and a board's
    device tree its name; a Mac says it by `sysctl`.
    """
    info = _cpuinfo()
    name = info.get("model name") or _text("/proc/device-tree/model") or _mac_processor()
    name = name or platform.processor() or platform.machine()
    numbers = [f"{key} {info[key]}" for key in _NUMBERS if key in info]
    kinds = dict.fromkeys(re.findall(r"^CPU part\s*:\s*(\S+)", _text("/proc/cpuinfo"), re.MULTILINE))
    if len(kinds) > 1:
        numbers.append(f"parts {' '.join(kinds)}")  # large and small cores
    return f"{name} ({', '.join(numbers)})" if numbers else name


@functools.cache
def _mac_processor() -> str:
    if sys.platform != "darwin":
        return ""
    question = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(question, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def cpu_flags() -> str:
    """The instruction sets among those that change which kernels a runtime picks, space-separated."""
    info = _cpuinfo()
    present = set(info.get("flags", info.get("Features", "")).split())
    return " ".join(flag for flag in (*_FLAGS, *_ARM_FLAGS) if flag in present) or platform.machine()
