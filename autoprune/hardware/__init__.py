"""Targets (runtimes on devices), the timing protocol, latency tables.

Names are imported when they are asked for: the worker process must not load torch for a runtime that needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.lazy import lazy_names

if TYPE_CHECKING:
    from autoprune.export.folding import fold_batch_norm
    from autoprune.hardware.contract.layer import Layer
    from autoprune.hardware.contract.protocol import Measurement, Protocol
    from autoprune.hardware.contract.target import TARGETS, Target, Timer, get_target
    from autoprune.hardware.grid.widths import grid, options
    from autoprune.hardware.sensors.telemetry import Recorder, read_signals, throttled
    from autoprune.hardware.tables.device_table import DeviceTable, check_fingerprint
    from autoprune.hardware.tables.latency_table import LatencyTable
    from autoprune.hardware.tables.profile import ProfileSettings, profile
    from autoprune.hardware.targets.local import LocalTarget
    from autoprune.hardware.targets.pipe import PipeTarget
    from autoprune.hardware.timing.measure import measure

__all__ = [
    "TARGETS",
    "DeviceTable",
    "LatencyTable",
    "Layer",
    "LocalTarget",
    "Measurement",
    "PipeTarget",
    "ProfileSettings",
    "Protocol",
    "Recorder",
    "Target",
    "Timer",
    "check_fingerprint",
    "fold_batch_norm",
    "get_target",
    "grid",
    "measure",
    "options",
    "profile",
    "read_signals",
    "throttled",
]

_HOMES = {
    "TARGETS": "autoprune.hardware.contract.target",
    "DeviceTable": "autoprune.hardware.tables.device_table",
    "LatencyTable": "autoprune.hardware.tables.latency_table",
    "Layer": "autoprune.hardware.contract.layer",
    "LocalTarget": "autoprune.hardware.targets.local",
    "Measurement": "autoprune.hardware.contract.protocol",
    "PipeTarget": "autoprune.hardware.targets.pipe",
    "ProfileSettings": "autoprune.hardware.tables.profile",
    "Protocol": "autoprune.hardware.contract.protocol",
    "Recorder": "autoprune.hardware.sensors.telemetry",
    "Target": "autoprune.hardware.contract.target",
    "Timer": "autoprune.hardware.contract.target",
    "check_fingerprint": "autoprune.hardware.tables.device_table",
    "fold_batch_norm": "autoprune.export.folding",
    "get_target": "autoprune.hardware.contract.target",
    "grid": "autoprune.hardware.grid.widths",
    "measure": "autoprune.hardware.timing.measure",
    "options": "autoprune.hardware.grid.widths",
    "profile": "autoprune.hardware.tables.profile",
    "read_signals": "autoprune.hardware.sensors.telemetry",
    "throttled": "autoprune.hardware.sensors.telemetry",
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
