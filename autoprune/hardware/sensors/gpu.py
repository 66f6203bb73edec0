"""NVIDIA GPUs: which one it is, as nvidia-smi says it for fingerprints; and its sensors, through NVML. No torch."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autoprune.hardware.sensors.reading import Probe

__all__ = ["GpuIdentity", "NvmlDevice", "find_nvml", "first_gpu"]

# Bits of the reasons why clocks are lowered that mean throttling; idling and settings are none.
_THROTTLING = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


@dataclass(frozen=True)
class GpuIdentity:
    """What of a GPU decides how fast something runs on it.

    Attributes:
        name: The product.
        capability: Compute capability, such as `9.0`.
        driver: Version of the driver.
    """

    name: str
    capability: str
    driver: str


def first_gpu() -> GpuIdentity | None:
    """The GPU that CUDA calls number 0, CUDA_VISIBLE_DEVICES minded; None where nvidia-smi lists none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    program = shutil.which("nvidia-smi")
    return _asked(program, visible) if program and visible and visible != "-1" else None


@functools.cache
def _asked(program: str, gpu: str) -> GpuIdentity | None:
    question = [program, f"--id={gpu}", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    words = [word.strip() for word in answer.stdout.strip().rsplit(",", 2)]
    return GpuIdentity(*words) if len(words) == 3 else None


def find_nvml() -> Any | None:
    """The module `pynvml`, or None where nvidia-ml-py is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


class NvmlDevice:
    """What one GPU reports through NVML.

    Args:
        nvml: The module `pynvml`; None if there is none.
        index: Number of the GPU, as CUDA counts: CUDA_VISIBLE_DEVICES is minded.
    """

    def __init__(self, nvml: Any | None, index: int = 0) -> None:
        self._nvml = nvml
        self._handle: Any = None
        self.missing: str | None = "nvidia-ml-py is not installed; pip install nvidia-ml-py"
        if nvml is None:
            return
        try:
            nvml.nvmlInit()
            self._handle = self._find(index)
        except (nvml.NVMLError, ValueError) as error:
            self.missing = f"NVML: {error}"
        else:
            self.missing = None

    def _find(self, index: int) -> Any:
        visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
        if visible and index >= len(visible):
            raise ValueError(f"CUDA_VISIBLE_DEVICES names no GPU number {index}")
        name = visible[index] if visible else str(index)
        if name.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))  # type: ignore[union-attr]  # only called with NVML
        return self._nvml.nvmlDeviceGetHandleByUUID(name)  # type: ignore[union-attr]

    def probes(self) -> list[Probe]:
        """The signals of the GPU, by the same names as the processor's."""
        return [
            self._probe("energy_j", "J", 1e-3, "nvmlDeviceGetTotalEnergyConsumption"),
            self._probe("power_w", "W", 1e-3, "nvmlDeviceGetPowerUsage"),
            self._probe("temperature_c", "°C", 1, "nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU"),
            self._probe("frequency_mhz", "MHz", 1, "nvmlDeviceGetClockInfo", "NVML_CLOCK_SM"),
            Probe("memory_bytes", "B", [], "NVML counts no bytes of the GPU's memory"),
            Probe("throttle_events", "", [], "NVML counts no throttling; it says whether the GPU is throttled now"),
        ]

    def _probe(self, name: str, unit: str, scale: float, function: str, *constants: str) -> Probe:
        if self.missing is not None:
            return Probe(name, unit, [], self.missing)
        return Probe(name, unit, [("NVML", lambda: self._ask(function, *constants) * scale)], "NVML")

    def _ask(self, function: str, *constants: str) -> float:
        """Call NVML; whatever goes wrong is an OSError, as for a file that cannot be read."""
        nvml: Any = self._nvml
        try:
            call: Callable[..., float] = getattr(nvml, function)
            return float(call(self._handle, *(getattr(nvml, constant) for constant in constants)))
        except AttributeError as error:
            raise OSError(f"this nvidia-ml-py is too old: {error}") from error
        except (TypeError, ValueError) as error:
            raise OSError(f"{function} answered nonsense: {error}") from error
        except nvml.NVMLError as error:
            raise OSError(f"{function}: {error}") from error

    def reason(self) -> str | None:
        """Why the GPU is throttled now; None if it is not, or if that is unknown."""
        if self.missing is not None:
            return None
        # The second is the name before driver 535.
        for function in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            with contextlib.suppress(OSError, ValueError):
                bits = int(self._ask(function))
                reasons = [what for bit, what in _THROTTLING.items() if bits & bit]
                return f"the GPU's clock is lowered: {', '.join(reasons)}" if reasons else None
        return None
