"""The device while it is measured: what its sensors say, and a wait while it is slowed down by heat or power."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.cost.energy import Coefficients, energy_cost
from autoprune.cost.metrics import Timing
from autoprune.hardware.sensors.telemetry import Reading, Recorder, Sensors, Telemetry, bandwidth_from
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Reporter

__all__ = ["Pause", "Watch", "bytes_moved", "in_all"]

_PATIENCE = 120.0  # seconds that a measurement waits for a device that throttles
_INTERVAL = 2.0  # seconds between two looks


@dataclass(frozen=True)
class Pause:
    """A wait for a device that throttles.

    Attributes:
        reason: Why it does.
        seconds: How long was waited.
        over: Whether it had stopped when the wait ended; else the measurement was taken all the same.
    """

    reason: str
    seconds: float
    over: bool

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def in_all(waits: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """The waits of a step as one, as JSON values: the first's reason, all seconds, and how the last ended.

    >>> in_all([None, Pause("heat", 4.0, False).to_json(), Pause("power", 2.0, True).to_json()])
    {'reason': 'heat', 'seconds': 6.0, 'over': True}
    """
    pauses = [wait for wait in waits if wait is not None]
    if not pauses:
        return None
    return Pause(pauses[0]["reason"], round(sum(p["seconds"] for p in pauses), 3), pauses[-1]["over"]).to_json()


class Watch:
    """Waits while the device throttles, and records its sensors around a measurement.

    Args:
        reporter: Shows that it waits.
        sensors: Of the device that is measured.
    """

    def __init__(self, reporter: Reporter, sensors: Sensors) -> None:
        self.reporter, self.sensors = reporter, sensors

    def wait(self) -> Pause | None:
        """Let the device recover; None if it does not throttle."""
        reason, start = self.sensors.throttled(), time.monotonic()
        if reason is None:
            return None
        self.reporter.say(f"the device throttles ({reason}); waiting up to {_PATIENCE:.0f} s before it is measured")
        now: str | None = reason
        while now is not None and time.monotonic() - start < _PATIENCE:
            time.sleep(_INTERVAL)
            now = self.sensors.throttled()
        waited = time.monotonic() - start
        outcome = "it has recovered" if now is None else "it still throttles, and is measured all the same"
        self.reporter.say(f"waited {waited:.0f} s: {outcome}")
        return Pause(reason, round(waited, 3), now is None)

    def recorder(self) -> Recorder:
        """A recorder of the sensors, to be entered around a measurement."""
        return Recorder(self.sensors)

    @staticmethod
    def signals(telemetry: Telemetry, problem: Problem, choices: Mapping[str, int], timing: Timing) -> dict[str, Any]:
        """What sensors and device said, as JSON values; energy and traffic are modelled where nothing counts them.

        Args:
            telemetry: Of the session in which the network was timed.
            problem: Its operators tell what an inference moves at the least.
            choices: The network's policy.
            timing: What one call takes.
        """
        found = telemetry.to_json()
        if telemetry.bandwidth_gbs.value is None:
            found["bandwidth_gbs"] = bandwidth_from(bytes_moved(problem, choices), timing.ms * 1e-3).to_json()
        energy = Reading("energy_mj", "mJ", timing.energy_mj, str(timing.energy_source))
        if energy.value is None:
            energy = Reading("energy_mj", "mJ", problem.energy.cost(choices), problem.energy.label_of_prediction)
        reported = {str(reading["name"]): dict(reading) for reading in timing.readings}
        return {**found, "energy_mj": energy.to_json(), **reported}


def bytes_moved(problem: Problem, choices: Mapping[str, int]) -> float:
    """Bytes that one call of a network moves at the least: weights, inputs and outputs of every operator, once each.

    What a runtime keeps in its caches is not known here, so this is a model of the traffic, not a count. It is the
    model of energy, with a picojoule a byte.
    """
    number = problem.energy.coefficients.number
    each = Coefficients(macs=0, weight_bytes=1, input_bytes=1, output_bytes=1, number=number)
    cost = energy_cost(problem.analysis, problem.space, each, batch=problem.task.target_batch)
    return cost.cost(choices) * 1e9  # picojoules, given in millijoules
