"""Targets (runtimes on devices), the timing protocol, latency tables.

Names are imported when they are asked for: the worker process must not load torch for a runtime that needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.lazy import lazy_names

if TYPE_CHECKING:
    from autoprune.export.folding import fold_batch_norm
    from autoprune.hardware.contract.layer import Layer
    from autoprune.hardware.contract.protocol import Measurement, Protocol, TimingPlan
    from autoprune.hardware.contract.registry import TARGETS
    from autoprune.hardware.contract.target import Target, Timer, get_target
    from autoprune.hardware.grid.widths import unit_step, width_options
    from autoprune.hardware.sensors.telemetry import Recorder, Telemetry, read_signals, throttled
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
    "Telemetry",
    "Timer",
    "TimingPlan",
    "check_fingerprint",
    "fold_batch_norm",
    "get_target",
    "measure",
    "profile",
    "read_signals",
    "throttled",
    "unit_step",
    "width_options",
]

_HOMES = {
    "TARGETS": "autoprune.hardware.contract.registry",
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
    "Telemetry": "autoprune.hardware.sensors.telemetry",
    "Timer": "autoprune.hardware.contract.target",
    "TimingPlan": "autoprune.hardware.contract.protocol",
    "check_fingerprint": "autoprune.hardware.tables.device_table",
    "fold_batch_norm": "autoprune.export.folding",
    "get_target": "autoprune.hardware.contract.target",
    "measure": "autoprune.hardware.timing.measure",
    "profile": "autoprune.hardware.tables.profile",
    "read_signals": "autoprune.hardware.sensors.telemetry",
    "throttled": "autoprune.hardware.sensors.telemetry",
    "unit_step": "autoprune.hardware.grid.widths",
    "width_options": "autoprune.hardware.grid.widths",
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
