"""Signals on machines made of files: what is there is read right, what is not there is None with the reason."""

import threading
import time
from pathlib import Path

import pytest

from autoprune.errors import InputError
from autoprune.hardware.sensors.reading import WrappingCounter
from autoprune.hardware.sensors.telemetry import Recorder, Sensors, bandwidth_from, read_signals, throttled
from tests.support.targets.machine import FakeNvml, put, rapl

SIGNALS = {
    "energy_j",
    "power_w",
    "temperature_c",
    "frequency_mhz",
    "memory_bytes",
    "throttle_events",
    "quota_throttled_s",
    "load",
    "cpu_s",
    "stolen_s",
    "preemptions",
}


def test_a_machine_without_sensors_says_none_and_why(tmp_path: Path) -> None:
    signals = Sensors(root=tmp_path).read()
    assert set(signals) == SIGNALS
    absent = SIGNALS - {"preemptions"}
    assert all(signals[name].value is None and signals[name].source for name in absent)
    assert "RAPL" in signals["energy_j"].source and "resctrl" in signals["memory_bytes"].source
    assert str(signals["energy_j"]).startswith("no energy_j: no RAPL")


def test_rapl_sums_packages_and_memory_and_nothing_twice(tmp_path: Path) -> None:
    rapl(tmp_path, 1_000_000)
    rapl(tmp_path, 2_000_000, zone="intel-rapl:1", name="package-1")
    rapl(tmp_path, 500_000, zone="intel-rapl:0:1", name="dram")
    rapl(tmp_path, 900_000, zone="intel-rapl:0:0", name="core")  # lies inside the package
    rapl(tmp_path, 1_000_000, zone="intel-rapl-mmio:0", name="package-0")  # the same package again
    rapl(tmp_path, 9_000_000, zone="intel-rapl:2", name="psys")
    reading = Sensors(root=tmp_path).read()["energy_j"]
    assert reading.value == pytest.approx(3.5) and reading.source == "RAPL" and reading.unit == "J"


def test_energy_over_a_wrap(tmp_path: Path) -> None:
    rapl(tmp_path, 999_000_000)
    with Recorder(Sensors(root=tmp_path), interval=60) as recorder:
        rapl(tmp_path, 2_000_000)
    assert recorder.result().energy_j.value == pytest.approx(3.0)  # 1 J to the end, 2 J from the start


def test_a_counter_that_was_set_back_is_no_wrap(tmp_path: Path) -> None:
    rapl(tmp_path, 600_000_000)
    sensors = Sensors(root=tmp_path)
    with Recorder(sensors, interval=60) as recorder:
        rapl(tmp_path, 599_000_000)
    energy = recorder.result().energy_j
    assert energy.value is None and "went back" in energy.source


def test_wrapping_counts_every_lap() -> None:
    raw = iter([90, 10, 60, 95, 5, 6])
    counter = WrappingCounter(lambda: next(raw), 100)
    assert [counter() for _ in range(6)] == [90, 110, 160, 195, 205, 206]


def test_power_is_energy_over_time_and_sources_are_named(tmp_path: Path) -> None:
    rapl(tmp_path, 0)
    with Recorder(Sensors(root=tmp_path), interval=60) as recorder:
        time.sleep(0.05)
        rapl(tmp_path, 3_000_000)
    told = recorder.result()
    assert told.energy_j.value == pytest.approx(3.0)
    assert told.power_w.value == pytest.approx(3.0 / told.seconds) and told.power_w.source == "RAPL"
    assert told.seconds >= 0.05 and told.to_json()["energy_j"]["source"] == "RAPL"


def test_power_alone_is_summed_over_time(tmp_path: Path) -> None:
    put(tmp_path, {"sys/class/hwmon/hwmon3/power1_input": 4_000_000, "sys/class/hwmon/hwmon3/power2_input": 1_000_000})
    with Recorder(Sensors(root=tmp_path), interval=0.01) as recorder:
        time.sleep(0.05)
    told = recorder.result()
    assert told.energy_j.value == pytest.approx(5.0 * told.seconds, rel=1e-6) and told.samples > 2
    assert told.energy_j.source == "hwmon power, summed over time"


def test_an_unreadable_file_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rapl(tmp_path, 1_000_000)
    read = Path.read_text

    def refuse(self: Path, *args: object, **named: object) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *args, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    reading = Sensors(root=tmp_path).read()["energy_j"]
    assert reading.value is None and "energy_uj cannot be read: permission denied" in reading.source


@pytest.mark.parametrize("garbage", ["", "garbage", "nan", "inf", "-5", "\x00\xff"])
def test_garbage_is_none(tmp_path: Path, garbage: str) -> None:
    rapl(tmp_path, 0)
    sensors = Sensors(root=tmp_path)
    put(
        tmp_path,
        {
            "sys/class/powercap/intel-rapl:0/energy_uj": garbage,
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": garbage if garbage != "-5" else "900000",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": garbage,
            "sys/fs/resctrl/mon_data/mon_L3_00/mbm_total_bytes": garbage or "Unavailable",
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": garbage,
            "proc/loadavg": garbage,
            "proc/stat": garbage,
            "sys/fs/cgroup/cpu.stat": f"throttled_usec {garbage}",
        },
    )
    for reading in (*Sensors(root=tmp_path).read().values(), sensors.read()["energy_j"]):
        assert reading.name == "preemptions" or (reading.value is None and reading.source), reading


def test_temperature_of_the_processor_before_any_other(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "sys/class/hwmon/hwmon0/name": "nvme",
            "sys/class/hwmon/hwmon0/temp1_input": 90_000,
            "sys/class/thermal/thermal_zone0/type": "acpitz",
            "sys/class/thermal/thermal_zone0/temp": 20_000,
            "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp",
            "sys/class/thermal/thermal_zone1/temp": 55_000,
        },
    )
    assert Sensors(root=tmp_path).read()["temperature_c"].value == 55
    put(
        tmp_path,
        {
            "sys/class/hwmon/hwmon1/name": "k10temp",
            "sys/class/hwmon/hwmon1/temp1_input": 51_500,
            "sys/class/hwmon/hwmon1/temp3_input": 58_250,
        },
    )
    reading = Sensors(root=tmp_path).read()["temperature_c"]
    assert reading.value == 58.25 and reading.source == "hwmon k10temp"


def test_frequency_of_the_fastest_core(tmp_path: Path) -> None:
    cpus = "sys/devices/system/cpu/cpufreq"
    put(tmp_path, {f"{cpus}/policy0/scaling_cur_freq": 800_000, f"{cpus}/policy1/scaling_cur_freq": 4_200_000})
    assert Sensors(root=tmp_path).read()["frequency_mhz"].value == 4200


def test_a_virtual_machine_s_frequency_is_no_measurement(tmp_path: Path) -> None:
    put(tmp_path, {"proc/cpuinfo": "flags\t\t: fpu avx\ncpu MHz\t\t: 2596.1\ncpu MHz\t\t: 3100.0"})
    assert Sensors(root=tmp_path).read()["frequency_mhz"].value == 3100
    put(tmp_path, {"proc/cpuinfo": "flags\t\t: fpu hypervisor avx\ncpu MHz\t\t: 2596.1"})
    reading = Sensors(root=tmp_path).read()["frequency_mhz"]
    assert reading.value is None and "virtual machine" in reading.source


def test_bandwidth_by_counter_else_modelled_and_labelled(tmp_path: Path) -> None:
    counter = "sys/fs/resctrl/mon_data/mon_L3_00/mbm_total_bytes"
    put(tmp_path, {counter: 1_000})
    with Recorder(Sensors(root=tmp_path), interval=60, bytes_moved=5.0) as recorder:
        put(tmp_path, {counter: 3_000_001_000})
    told = recorder.result()
    assert told.bandwidth_gbs.value == pytest.approx(3.0 / told.seconds)
    assert told.bandwidth_gbs.source == "resctrl mbm_total_bytes"
    (tmp_path / counter).unlink()
    with Recorder(Sensors(root=tmp_path), interval=60) as recorder:
        pass
    assert recorder.result().bandwidth_gbs.value is None
    recorder.bytes_moved = 2e9
    told = recorder.result()
    assert told.bandwidth_gbs.value == pytest.approx(2 / told.seconds)
    assert told.bandwidth_gbs.source == "modelled: bytes over time"
    with pytest.raises(InputError, match="above 0"):
        bandwidth_from(0, 1)


def test_disturbances_are_differences(tmp_path: Path) -> None:
    count = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    quota = "sys/fs/cgroup/cpu.stat"
    put(tmp_path, {count.format(0): 3, count.format(1): 4, quota: "nr_throttled 2\nthrottled_usec 1000000"})
    put(tmp_path, {"proc/stat": "cpu  100 0 50 800 0 0 0 50 0 0", "proc/loadavg": "2 1 1"})
    with Recorder(Sensors(root=tmp_path), interval=60) as recorder:
        put(tmp_path, {count.format(0): 5, quota: "nr_throttled 3\nthrottled_usec 1500000"})
        put(tmp_path, {"proc/stat": "cpu  160 0 50 820 0 0 0 70 0 0", "proc/loadavg": "4 1 1"})
    told = recorder.result()
    assert told.throttle_events.value == 2 and told.quota_throttled_s.value == pytest.approx(0.5)
    assert told.stolen.value == pytest.approx(20 / 100) and told.load.value == pytest.approx(3.0)


def test_throttling_is_told_with_its_reason(tmp_path: Path) -> None:
    assert throttled(Sensors(root=tmp_path)) is None
    zone = "sys/class/thermal/thermal_zone0"
    put(tmp_path, {f"{zone}/type": "cpu-thermal", f"{zone}/temp": 79_000, f"{zone}/trip_point_0_type": "critical"})
    put(tmp_path, {f"{zone}/trip_point_0_temp": 70_000, f"{zone}/trip_point_1_type": "passive"})
    put(tmp_path, {f"{zone}/trip_point_1_temp": 80_000})
    assert throttled(Sensors(root=tmp_path)) is None  # the critical point is another matter
    put(tmp_path, {f"{zone}/temp": 81_000})
    assert throttled(Sensors(root=tmp_path)) == "cpu-thermal is at 81 °C, its limit is 80 °C"
    put(tmp_path, {f"{zone}/temp": 50_000, "sys/devices/platform/soc/soc:firmware/get_throttled": "50005"})
    assert throttled(Sensors(root=tmp_path)) == "the board's firmware says: under-voltage, throttled"


def test_throttling_by_events_of_this_moment(tmp_path: Path) -> None:
    count = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    put(tmp_path, {count: 7})
    sensors = Sensors(root=tmp_path)
    assert sensors.throttled() is None  # seven events long ago
    timer = threading.Timer(0.05, lambda: put(tmp_path, {count: 9}))
    timer.start()
    assert sensors.throttled() == "the processor is too hot: 2 throttle events in 0.2 s"
    timer.join()


def test_a_gpu_by_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    rapl(tmp_path, 77)  # the processor's energy is not the GPU's
    nvml = FakeNvml()
    sensors = Sensors(gpu=0, root=tmp_path, nvml=nvml)
    with Recorder(sensors, interval=60, bytes_moved=1.0) as recorder:
        nvml.millijoules += 2_500
    told = recorder.result()
    assert told.energy_j.value == pytest.approx(2.5) and told.energy_j.source == "NVML"
    assert told.temperature_c.value == 61 and told.frequency_mhz.value == 1980
    assert told.bandwidth_gbs.source.startswith("modelled") and told.throttle_events.value is None
    assert sensors.throttled() is None
    nvml.reasons = 0x1 | 0x40 | 0x4  # idle is no throttling
    assert sensors.throttled() == "the GPU's clock is lowered: power limit, hardware thermal slowdown"


def test_an_old_gpu_has_power_only(tmp_path: Path) -> None:
    nvml = FakeNvml()
    nvml.lacks.add("energy")
    with Recorder(Sensors(gpu=0, root=tmp_path, nvml=nvml), interval=0.01) as recorder:
        time.sleep(0.04)
    told = recorder.result()
    assert told.energy_j.value == pytest.approx(70 * told.seconds) and told.energy_j.source == "NVML, summed over time"


def test_the_gpu_that_cuda_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    Sensors(gpu=0, root=tmp_path, nvml=nvml)
    Sensors(gpu=1, root=tmp_path, nvml=nvml)
    assert nvml.asked == [3, "GPU-abc"]
    reading = Sensors(gpu=2, root=tmp_path, nvml=nvml).read()["energy_j"]
    assert reading.value is None and "names no GPU number 2" in reading.source


def test_a_gpu_without_driver_or_module(tmp_path: Path) -> None:
    nvml = FakeNvml()
    nvml.lacks.add("driver")
    sensors = Sensors(gpu=0, root=tmp_path, nvml=nvml)
    assert sensors.read()["power_w"].source == "NVML: Driver Not Loaded" and sensors.throttled() is None


def test_a_signal_that_fails_on_the_way_is_not_summed_up(tmp_path: Path) -> None:
    rapl(tmp_path, 1_000_000)
    with Recorder(Sensors(root=tmp_path), interval=60) as recorder:
        (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    energy = recorder.result().energy_j
    assert energy.value is None and "no such file" in energy.source


def test_recorder_stops_its_thread_also_after_an_error() -> None:
    def watchers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "autoprune-telemetry"]

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), Recorder(interval=0.01):
            assert len(watchers()) == 1
            raise ZeroDivisionError
        assert not watchers()
    with Recorder(interval=60) as recorder:  # a long interval does not hold up the end
        start = time.monotonic()
    assert time.monotonic() - start < 1 and recorder.result().samples == 2


def test_a_recorder_before_use_and_of_no_interval() -> None:
    with pytest.raises(InputError, match="recorded nothing"):
        Recorder().result()
    with pytest.raises(InputError, match="more than 0"):
        Recorder(interval=0)


def test_this_machine_is_read_in_no_time() -> None:
    sensors = Sensors()
    sensors.read()
    start = time.thread_time()
    for _ in range(20):
        signals = read_signals(sensors)
    assert (time.thread_time() - start) / 20 < 0.02 and set(signals) == SIGNALS
