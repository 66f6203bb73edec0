"""`Recorder` and its kin for callers from outside: the code lies in `autoprune.hardware.sensors.telemetry`."""

from autoprune.hardware.sensors.telemetry import Recorder, Telemetry, read_signals

__all__ = ["Recorder", "Telemetry", "read_signals"]
