"""Which processor this is: for fingerprints. No torch."""

from __future__ import annotations

import functools
import platform
import re
import subprocess
import sys
from pathlib import Path

from autoprune.hardware.sensors.reading import text_in

__all__ = ["cpu_flags", "cpu_model"]

# Instruction sets that change which kernels a runtime picks.
_FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16")
_ARM_FLAGS = ("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2")
_NUMBERS = ("cpu family", "model", "CPU implementer", "CPU part", "CPU variant", "CPU revision")


def _cpuinfo() -> dict[str, str]:
    """What the system says of the first core."""
    first = _text("/proc/cpuinfo").split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


@functools.cache
def _text(path: str) -> str:
    """A file's text, read once: nothing that is read here changes."""
    return text_in(Path(path))


def cpu_model() -> str:
    """The processor's name with what else distinguishes it: a table of one must not serve another.

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
