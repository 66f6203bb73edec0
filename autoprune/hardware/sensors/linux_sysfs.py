"""What Linux says about the processor and the machine: /sys and /proc. No torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from autoprune.hardware.sensors.counters import processor_ticks, reaped_preemptions
from autoprune.hardware.sensors.reading import Probe, Sample, WrappingCounter, number_in, sum_of, text_in

__all__ = ["LinuxThrottle", "linux_probes"]

_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "scpi_sensors")  # hwmon drivers of processors
_CPU_ZONES = ("x86_pkg_temp", "cpu", "soc", "tcpu")  # beginnings of thermal zones' types
_MOST_CORES = 16  # read for the frequency; a server has hundreds
_PI_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def linux_probes(root: Path) -> list[Probe]:
    """Every signal of the processor and the machine, whether it is there or not.

    Args:
        root: Where /sys and /proc lie; `/` but in tests.
    """
    hwmon, zones = root / "sys/class/hwmon", root / "sys/class/thermal"
    return [
        Probe("energy_j", "J", _energy_ways(root), f"no RAPL: {root / 'sys/class/powercap'} holds no package"),
        Probe("power_w", "W", _power_ways(hwmon), f"no power sensor under {hwmon}"),
        Probe("temperature_c", "°C", _temperature_ways(hwmon, zones), f"no sensor under {hwmon} or {zones}"),
        Probe("frequency_mhz", "MHz", _frequency_ways(root), "neither cpufreq nor /proc/cpuinfo says a frequency"),
        Probe("memory_bytes", "B", _memory_ways(root), f"no memory counter: {root / 'sys/fs/resctrl'} is not mounted"),
        Probe("throttle_events", "", _throttle_ways(root), "the processor's driver counts no throttling"),
        Probe("quota_throttled_s", "s", _quota_ways(root), "no CPU quota in this control group"),
        Probe("load", "", [("load average of a minute", lambda: _first_word(root / "proc/loadavg"))], "unknown"),
        Probe("cpu_s", "s", [("/proc/stat", lambda: _seconds(root, slice(None)))], "unknown"),
        Probe("stolen_s", "s", [("/proc/stat", lambda: _seconds(root, slice(7, 8)))], "unknown"),
        Probe("preemptions", "", _preemption_ways(), "this system does not count them"),
    ]


# Energy and power.


def _energy_ways(root: Path) -> list[tuple[str, Sample]]:
    """RAPL: packages and their memory; a board's own energy meters."""
    power = root / "sys/class/powercap"
    zones = [zone for zone in sorted(power.glob("*rapl*:*")) if _is_counted(zone)]
    ways: list[tuple[str, Sample]] = []
    if zones:
        ways.append(("RAPL", sum_of([_rapl(zone) for zone in zones])))
    meters = sorted((root / "sys/class/hwmon").glob("hwmon*/energy*_input"))
    if meters:
        ways.append(("hwmon energy", sum_of([_scaled(meter, 1e-6) for meter in meters])))
    return ways


def _is_counted(zone: Path) -> bool:
    """Packages, and memory (which no package includes); the core and graphics zones lie inside the package's.

    The same package also appears under intel-rapl-mmio.
    """
    name = text_in(zone / "name")
    return not zone.name.startswith("intel-rapl-mmio") and (name.startswith("package") or name == "dram")


def _rapl(zone: Path) -> Sample:
    raw = zone / "energy_uj"
    span: int | None = None
    try:
        span = int(number_in(zone / "max_energy_range_uj", least=1))
    except (OSError, ValueError):
        span = None  # then a wrap is reported as a counter that went back, not guessed
    counter = WrappingCounter(lambda: int(number_in(raw, least=0)), span)
    return lambda: counter() * 1e-6


def _power_ways(hwmon: Path) -> list[tuple[str, Sample]]:
    meters = sorted({*hwmon.glob("hwmon*/power*_input")} or {*hwmon.glob("hwmon*/power*_average")})
    return [("hwmon power", sum_of([_scaled(meter, 1e-6) for meter in meters]))] if meters else []


# Temperature and frequency.


def _temperature_ways(hwmon: Path, thermal: Path) -> list[tuple[str, Sample]]:
    """The hottest sensor of the processor."""
    ways: list[tuple[str, Sample]] = []
    for chip in sorted(hwmon.glob("hwmon*")):
        if text_in(chip / "name") in _CPU_SENSORS:
            ways += [(f"hwmon {text_in(chip / 'name')}", _hottest(list(chip.glob("temp*_input"))))]
    zones = [zone for zone in sorted(thermal.glob("thermal_zone*")) if (zone / "temp").exists()]
    named = [zone for zone in zones if text_in(zone / "type").lower().startswith(_CPU_ZONES)]
    if named or zones:
        what = text_in((named or zones)[0] / "type") or "unnamed"
        ways.append((f"thermal zone {what}", _hottest([zone / "temp" for zone in named or zones])))
    return ways


def _hottest(files: list[Path]) -> Sample:
    """The highest of several sensors in degrees, leaving out those that say nonsense."""

    def sample() -> float:
        found, failed = [], None
        for file in files:
            try:
                found.append(number_in(file, least=-60_000, most=200_000) / 1000)
            except (OSError, ValueError) as error:
                failed = error
        if not found:
            raise failed or ValueError("no sensor")
        return max(found)

    return sample


def _frequency_ways(root: Path) -> list[tuple[str, Sample]]:
    """The fastest core, since that is the one at work; a hypervisor's constant is no measurement."""
    files = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*/scaling_cur_freq"))
    files = files or sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    files = files[:: max(1, len(files) // _MOST_CORES)]
    ways: list[tuple[str, Sample]] = []
    if files:
        ways.append(("cpufreq, fastest core", lambda: max(number_in(f, least=1, most=2e7) for f in files) / 1000))
    ways.append(("/proc/cpuinfo, fastest core", lambda: _frequency_in_cpuinfo(root / "proc/cpuinfo")))
    return ways


def _frequency_in_cpuinfo(path: Path) -> float:
    text = path.read_text(encoding="utf-8", errors="replace")
    values = [float(line.split(":")[1]) for line in text.splitlines() if line.startswith("cpu MHz")]
    if not values:
        raise ValueError("no frequency is listed")
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    if "hypervisor" in flags.split():
        raise ValueError(f"the {values[0]:g} MHz listed are a constant of the virtual machine")
    return max(values)


# Memory.


def _memory_ways(root: Path) -> list[tuple[str, Sample]]:
    """Memory bandwidth monitoring: bytes that left the last-level caches, all domains together."""
    files = sorted((root / "sys/fs/resctrl/mon_data").glob("mon_L3_*/mbm_total_bytes"))
    if not files:
        return []
    counters = [WrappingCounter(_integer(file), None) for file in files]
    return [("resctrl mbm_total_bytes", sum_of(counters))]


# Disturbances.


def _throttle_ways(root: Path) -> list[tuple[str, Sample]]:
    cpus = root / "sys/devices/system/cpu"
    files = sorted(cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    return [("thermal_throttle", sum_of([_scaled(file, 1) for file in files]))] if files else []


def _quota_ways(root: Path) -> list[tuple[str, Sample]]:
    """Seconds for which a control group (a container) was stopped, because it had used up its share of the CPU."""
    folders = {"sys/fs/cgroup": ("throttled_usec", 1e-6), "sys/fs/cgroup/cpu": ("throttled_time", 1e-9)}
    ways: list[tuple[str, Sample]] = []
    for folder, (word, scale) in folders.items():
        path = root / folder / "cpu.stat"
        if f"{word} " in text_in(path):
            ways.append((f"/{folder}/cpu.stat", lambda path=path, word=word, scale=scale: _field(path, word) * scale))  # type: ignore[misc]  # a lambda's defaults have no types
    return ways


def _field(path: Path, word: str) -> float:
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{word} "):
            return float(line.split()[1])
    raise ValueError(f"{path} has no {word}")


def _seconds(root: Path, kinds: slice) -> float:
    """Seconds of all cores in some kinds of time; see `processor_ticks`."""
    rate = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    return sum(processor_ticks(root / "proc/stat")[kinds]) / rate


def _preemption_ways() -> list[tuple[str, Sample]]:
    return [("getrusage", lambda: reaped_preemptions() or 0.0)] if reaped_preemptions() is not None else []


class LinuxThrottle:
    """Whether the processor is being slowed down at this moment.

    Args:
        root: Where /sys lies.
        pause: Seconds between two looks at the throttle counters.
    """

    def __init__(self, root: Path, pause: float = 0.2) -> None:
        self._root = root
        self._pause = pause
        self._events = Probe("throttle_events", "", _throttle_ways(root), "none")

    def reason(self) -> str | None:
        """Why the processor is throttled now; None if it is not, or if that is unknown."""
        return self._counted() or self._too_hot() or self._board()

    def _counted(self) -> str | None:
        if not self._events.present:
            return None
        before = self._events.read().value
        time.sleep(self._pause)
        after = self._events.read().value
        if before is None or after is None or after <= before:
            return None
        return f"the processor is too hot: {after - before:.0f} throttle events in {self._pause:g} s"

    def _too_hot(self) -> str | None:
        """A thermal zone at its passive trip point, where Linux slows devices down."""
        for zone in sorted((self._root / "sys/class/thermal").glob("thermal_zone*")):
            for kind in sorted(zone.glob("trip_point_*_type")):
                if text_in(kind) not in ("passive", "hot"):
                    continue
                try:
                    trip = number_in(kind.with_name(kind.name.replace("_type", "_temp")), least=40_000)  # lower: unset
                    now = number_in(zone / "temp", most=200_000)
                except (OSError, ValueError):
                    continue
                if now >= trip:
                    name = text_in(zone / "type") or zone.name
                    return f"{name} is at {now / 1000:.0f} °C, its limit is {trip / 1000:.0f} °C"
        return None

    def _board(self) -> str | None:
        """The Raspberry Pi's firmware says it in bits."""
        try:
            bits = int(text_in(self._root / "sys/devices/platform/soc/soc:firmware/get_throttled"), 16)
        except ValueError:
            return None
        reasons = [what for bit, what in _PI_BITS.items() if bits >> bit & 1]
        return f"the board's firmware says: {', '.join(reasons)}" if reasons else None


# Files.


def _scaled(path: Path, factor: float) -> Sample:
    return lambda: number_in(path, least=0) * factor


def _integer(path: Path) -> Callable[[], int]:
    return lambda: int(number_in(path, least=0))


def _first_word(path: Path) -> float:
    return float((path.read_text(encoding="ascii", errors="replace").split() or [""])[0])
