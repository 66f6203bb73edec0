"""Signals of the machine while something runs: energy, temperature, frequency, memory traffic, disturbances.

`read_signals()` looks once; a `Recorder` around a stretch of work samples in the background and says what it took.
Every figure is a `Reading`: a value with its source, or None with the reason. No torch.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from autoprune.errors import InputError
from autoprune.hardware.sensors.gpu import NvmlDevice, find_nvml
from autoprune.hardware.sensors.linux_sysfs import LinuxThrottle, linux_probes
from autoprune.hardware.sensors.reading import Probe, Reading

__all__ = ["NoSensors", "Reading", "Recorder", "Sensors", "Telemetry", "bandwidth_from", "read_signals", "throttled"]

MODELLED_BANDWIDTH = "modelled: bytes over time"


class Sensors:
    """Every signal that this machine may have; found once, read many times, from several threads.

    Counters run on as long as this object is used: it minds those that wrap.

    Args:
        gpu: Number of the GPU at work, as CUDA counts; None when the processor is. The GPU's energy, power,
            temperature and frequency then stand in the place of the processor's.
        root: Where /sys and /proc lie.
        nvml: A module with NVML's functions; by default `pynvml`, looked up when a GPU is asked for.
    """

    def __init__(self, *, gpu: int | None = None, root: str | Path = "/", nvml: Any | None = None) -> None:
        device = None if gpu is None else NvmlDevice(nvml if nvml is not None else find_nvml(), gpu)
        probes = {probe.name: probe for probe in linux_probes(Path(root))}
        if device is not None:
            probes |= {probe.name: probe for probe in device.probes()}
        self._probes: Mapping[str, Probe] = probes
        self._throttle: NvmlDevice | LinuxThrottle = LinuxThrottle(Path(root)) if device is None else device
        self._lock = threading.Lock()

    def read(self) -> dict[str, Reading]:
        """Every signal now, by name."""
        with self._lock:
            return {name: probe.read() for name, probe in self._probes.items()}

    def counter(self, name: str) -> tuple[Callable[[], float | None] | None, str]:
        """How to read one signal alone, or None where the machine does not have it; and its source, or why."""
        reading = self._probes[name].read()
        return None if reading.value is None else lambda: self._read_one(name), reading.source

    def _read_one(self, name: str) -> float | None:
        with self._lock:
            return self._probes[name].read().value

    def throttled(self) -> str | None:
        """Why the device is slowed down now; None if it is not, or if that is unknown. Takes up to 0.2 s."""
        return self._throttle.reason()


class NoSensors(Sensors):
    """Of a device that is not this machine: nothing is known, whatever this machine's own sensors say."""

    _REASON = "the device is not this machine"

    def read(self) -> dict[str, Reading]:
        """Every signal by name, without a value."""
        return {name: Reading(name, reading.unit, None, self._REASON) for name, reading in super().read().items()}

    def counter(self, name: str) -> tuple[Callable[[], float | None] | None, str]:
        """No way to read it, and why."""
        return None, self._REASON

    def throttled(self) -> str | None:
        """Unknown."""
        return None


def read_signals(sensors: Sensors | None = None) -> dict[str, Reading]:
    """Every signal of the machine now, by name: temperature, frequency, counters of energy and memory traffic, load.

    Args:
        sensors: Where to look; this machine's processor when None.
    """
    return (sensors or Sensors()).read()


def throttled(sensors: Sensors | None = None) -> str | None:
    """Why the device is slowed down now (heat, power), in words; None if it is not or that is unknown.

    Args:
        sensors: Where to look; this machine's processor when None.
    """
    return (sensors or Sensors()).throttled()


def bandwidth_from(bytes_moved: float, seconds: float) -> Reading:
    """Memory traffic without a counter: the bytes that a network moves, over the time it took; labelled so.

    Args:
        bytes_moved: Bytes read and written by all inferences of that time.
        seconds: The time.

    Raises:
        InputError: If either is no positive number.
    """
    if not (bytes_moved > 0 and seconds > 0):
        raise InputError(f"a bandwidth needs bytes and seconds above 0, not {bytes_moved} and {seconds}")
    return Reading("bandwidth_gbs", "GB/s", bytes_moved / seconds * 1e-9, MODELLED_BANDWIDTH)


@dataclass(frozen=True)
class Telemetry:
    """What the machine said while something ran.

    Attributes:
        seconds: Length of the stretch by the wall clock.
        samples: How often the machine was looked at.
        energy_j: Energy of the whole device, what runs beside included, in joules.
        power_w: Mean power in watts.
        temperature_c: Mean temperature in degrees Celsius.
        frequency_mhz: Mean frequency of the fastest core, or of the GPU.
        bandwidth_gbs: Memory traffic in 1e9 bytes a second.
        throttle_events: How often the processor slowed down for heat.
        quota_throttled_s: Seconds for which the container was stopped by its CPU quota.
        stolen: Share of all cores' time that the hypervisor gave to others, in [0, 1].
        preemptions: Of this process and of the children that ended in the stretch.
        load: Mean load average of a minute.
    """

    seconds: float
    samples: int
    energy_j: Reading
    power_w: Reading
    temperature_c: Reading
    frequency_mhz: Reading
    bandwidth_gbs: Reading
    throttle_events: Reading
    quota_throttled_s: Reading
    stolen: Reading
    preemptions: Reading
    load: Reading

    def readings(self) -> Iterator[Reading]:
        """Every signal, whether it is there or not."""
        values = (getattr(self, field.name) for field in fields(self))
        return (value for value in values if isinstance(value, Reading))

    def to_json(self) -> dict[str, Any]:
        """The fields by name; a signal as its fields."""
        signals = {reading.name: reading.to_json() for reading in self.readings()}
        return {"seconds": self.seconds, "samples": self.samples, **signals}


class Recorder:
    """A context manager around a stretch of work; samples the machine from a thread of its own.

    >>> with Recorder() as recorder:
    ...     total = sum(range(1000))
    >>> recorder.result().samples >= 2
    True

    Args:
        sensors: Where to look; this machine's processor when None.
        interval: Seconds between samples. A sample costs about half a millisecond of one core.
        bytes_moved: Bytes that the work reads and writes, for a modelled bandwidth where no counter is; may be set
            before `result` is asked for.
    """

    def __init__(
        self, sensors: Sensors | None = None, *, interval: float = 0.5, bytes_moved: float | None = None
    ) -> None:
        if not interval > 0:
            raise InputError(f"a recorder samples every so many seconds, more than 0, not {interval}")
        self.bytes_moved = bytes_moved
        self._sensors = sensors or Sensors()
        self._interval = interval
        self._samples: list[tuple[float, dict[str, Reading]]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Recorder:
        self._samples.clear()
        self._stop.clear()
        self._look()
        self._thread = threading.Thread(target=self._watch, name="autoprune-telemetry", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        self._stop.set()
        if thread is not None:
            thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._look()

    def _look(self) -> None:
        self._samples.append((time.monotonic(), self._sensors.read()))

    def result(self) -> Telemetry:
        """What the machine said between entering and leaving (or until now).

        Raises:
            InputError: If the recorder was never entered.
        """
        if not self._samples:
            raise InputError("the recorder has recorded nothing; use it as a context manager first")
        if self._thread is not None:
            self._look()
        samples = list(self._samples)
        seconds = max(samples[-1][0] - samples[0][0], 1e-9)
        series = SampleSeries(samples, seconds)
        energy = series.energy()
        return Telemetry(
            seconds=seconds,
            samples=len(samples),
            energy_j=energy,
            power_w=series.power(energy),
            temperature_c=series.mean("temperature_c"),
            frequency_mhz=series.mean("frequency_mhz"),
            bandwidth_gbs=self._bandwidth(series, seconds),
            throttle_events=series.grown("throttle_events"),
            quota_throttled_s=series.grown("quota_throttled_s"),
            stolen=series.stolen(),
            preemptions=series.grown("preemptions"),
            load=series.mean("load"),
        )

    def _bandwidth(self, series: SampleSeries, seconds: float) -> Reading:
        moved = series.grown("memory_bytes")
        if moved.value is not None:
            return Reading("bandwidth_gbs", "GB/s", moved.value / seconds * 1e-9, moved.source)
        if self.bytes_moved is not None:
            return bandwidth_from(self.bytes_moved, seconds)
        return Reading("bandwidth_gbs", "GB/s", None, moved.source)


class SampleSeries:
    """Samples in order, summed up signal by signal."""

    def __init__(self, samples: list[tuple[float, dict[str, Reading]]], seconds: float) -> None:
        self._samples = samples
        self._seconds = seconds

    def _of(self, name: str) -> list[Reading]:
        return [readings[name] for _, readings in self._samples]

    def mean(self, name: str) -> Reading:
        """The mean of the samples that there are."""
        readings = self._of(name)
        values = [reading.value for reading in readings if reading.value is not None]
        if not values:
            return readings[-1]
        source = next(reading.source for reading in readings if reading.value is not None)
        return Reading(name, readings[0].unit, statistics.fmean(values), source)

    def grown(self, name: str) -> Reading:
        """What a counter grew by; None if any sample failed, since growth may be missing then."""
        readings = self._of(name)
        failed = next((reading for reading in readings if reading.value is None), None)
        first, last = readings[0], readings[-1]
        if failed is not None or first.value is None or last.value is None:
            return failed or last
        if last.value < first.value:
            return Reading(name, first.unit, None, f"{first.source}: the counter was set back")
        return Reading(name, first.unit, last.value - first.value, first.source)

    def energy(self) -> Reading:
        """By a counter of energy, else power summed over time by the trapezoidal rule."""
        counted = self.grown("energy_j")
        power = [reading.value for reading in self._of("power_w")]
        known = [value for value in power if value is not None]
        if counted.value is not None or not known or len(known) < len(power):
            return counted
        times = [moment for moment, _ in self._samples]
        steps = zip(times, times[1:], known, known[1:], strict=False)
        total = sum((t1 - t0) * (p0 + p1) / 2 for t0, t1, p0, p1 in steps)
        return Reading("energy_j", "J", total, f"{self._of('power_w')[0].source}, summed over time")

    def power(self, energy: Reading) -> Reading:
        """Mean power over the stretch, from the energy."""
        watts = None if energy.value is None else energy.value / self._seconds
        return Reading("power_w", "W", watts, energy.source)

    def stolen(self) -> Reading:
        """Stolen time as a share of all time."""
        stolen, total = self.grown("stolen_s"), self.grown("cpu_s")
        if stolen.value is None or total.value is None:
            return Reading("stolen", "share", None, stolen.source)
        if total.value <= 0:  # shorter than one tick
            return Reading("stolen", "share", None, "the stretch was shorter than the clock of /proc/stat ticks")
        return Reading("stolen", "share", min(1.0, stolen.value / total.value), stolen.source)
