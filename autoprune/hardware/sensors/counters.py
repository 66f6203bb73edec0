"""What the system counts while something runs: preemptions, page faults, stolen time, load, memory. No torch."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

__all__ = ["counters", "load_average", "peak_memory_mb", "preemptions", "processor_ticks", "reaped_preemptions"]

_STOLEN = 7  # place of the stolen time among the kinds of time in /proc/stat


def preemptions() -> int:
    """How often this process has lost a core against its will."""
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


def reaped_preemptions() -> float:
    """The same of this process and of its children that have ended."""
    return float(sum(resource.getrusage(who).ru_nivcsw for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def counters() -> dict[str, int | None]:
    """Preemptions and page faults of this process so far, stolen ticks of the machine; None where unknown."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "preemptions": int(usage.ru_nivcsw),
        "page_faults": int(usage.ru_minflt + usage.ru_majflt),
        "stolen_ticks": _stolen_ticks(),
    }


def _stolen_ticks() -> int | None:
    try:
        return processor_ticks(Path("/proc/stat"))[_STOLEN]
    except (OSError, ValueError):
        return None


def processor_ticks(stat: Path) -> tuple[int, ...]:
    """Ticks of all cores together, by kind of time: user, nice, system, idle, iowait, irq, softirq, stolen.

    Args:
        stat: The file `/proc/stat`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it has no such line.
    """
    with stat.open(encoding="ascii", errors="replace") as lines:
        words = lines.readline().split()
    if len(words) < 9 or words[0] != "cpu":
        raise ValueError("/proc/stat has no line for all processors")
    return tuple(map(int, words[1:9]))


def load_average() -> float | None:
    """Runnable processes of the last minute, or None."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


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
    bytes_each = 1 if sys.platform == "darwin" else 1024
    return round(int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * bytes_each / 2**20, 1)
