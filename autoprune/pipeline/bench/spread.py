"""Figures of several repetitions, and of a worker that holds one network alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from autoprune.hardware import Measurement, Protocol, Target

__all__ = ["peak_memory", "spread"]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and range over the repetitions, and the values themselves."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "values": list(values)}


def peak_memory(target: Target, payloads: Sequence[bytes], first: Sequence[Measurement]) -> list[float | None]:
    """Peak memory of each network in MB, in a worker of its own; None where the target cannot tell."""
    if any(m.conditions.get("peak_memory_mb") is None for m in first):
        return [None] * len(payloads)
    found: list[float | None] = []
    for payload in payloads:
        with target.session() as timer:
            found.append(timer.time([payload], Protocol.entries())[0].conditions.get("peak_memory_mb"))
    return found
