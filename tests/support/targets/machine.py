"""A machine made of files, and an NVML made of numbers: sensors that can be set, broken, and counted on."""

from pathlib import Path


def put(root: Path, files: dict[str, object]) -> Path:
    """Write files under a root, one value each."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def rapl(
    root: Path, microjoules: int, *, zone: str = "intel-rapl:0", name: str = "package-0", span: int = 10**9
) -> Path:
    """One RAPL zone."""
    folder = f"sys/class/powercap/{zone}"
    return put(
        root, {f"{folder}/name": name, f"{folder}/energy_uj": microjoules, f"{folder}/max_energy_range_uj": span}
    )


class FakeNvml:
    """The part of `pynvml` that is used, for one GPU."""

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.millijoules = 5_000.0
        self.milliwatts = 70_000.0
        self.reasons = 0
        self.lacks: set[str] = set()
        self.asked: list[object] = []

    def nvmlInit(self) -> None:
        if "driver" in self.lacks:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        self.asked.append(index)
        return f"gpu{index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> float:
        if "energy" in self.lacks:
            raise self.NVMLError("Not Supported")
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, handle: str) -> float:
        return self.milliwatts

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> float:
        return 61

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> float:
        return 1980

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return self.reasons
