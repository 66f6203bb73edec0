"""Targets (runtimes on devices), the timing protocol, latency tables.

Names are imported when they are asked for: the worker process must not load torch for a runtime that needs none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.hardware.base import TARGETS, LocalTarget, Target, Timer, get_target
    from autoprune.hardware.device_table import DeviceTable, check_fingerprint
    from autoprune.hardware.fold import fold_batch_norm
    from autoprune.hardware.layers import Layer
    from autoprune.hardware.measuring import measure
    from autoprune.hardware.profiling import ProfileSettings, profile
    from autoprune.hardware.protocol import Measurement, Protocol
    from autoprune.hardware.table import LatencyTable
    from autoprune.hardware.widths import grid, options

__all__ = [
    "TARGETS",
    "DeviceTable",
    "LatencyTable",
    "Layer",
    "LocalTarget",
    "Measurement",
    "ProfileSettings",
    "Protocol",
    "Target",
    "Timer",
    "check_fingerprint",
    "fold_batch_norm",
    "get_target",
    "grid",
    "measure",
    "options",
    "profile",
]

_HOMES = {
    "TARGETS": "base",
    "DeviceTable": "device_table",
    "LatencyTable": "table",
    "Layer": "layers",
    "LocalTarget": "base",
    "Measurement": "protocol",
    "ProfileSettings": "profiling",
    "Protocol": "protocol",
    "Target": "base",
    "Timer": "base",
    "check_fingerprint": "device_table",
    "fold_batch_norm": "fold",
    "get_target": "base",
    "grid": "widths",
    "measure": "measuring",
    "options": "widths",
    "profile": "profiling",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
