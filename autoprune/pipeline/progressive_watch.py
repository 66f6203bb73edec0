"""The device while it is measured: what its sensors say, and a wait while it is slowed down by heat or power."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.hardware.telemetry import Recorder, Sensors, Telemetry, bandwidth_from
from autoprune.pipeline.talk import Talk

__all__ = ["Pause", "Watch", "bytes_of"]

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


class Watch:
    """Waits while the device throttles, and records its sensors around a measurement.

    Args:
        talk: Is told of a wait.
        sensors: Of the device that is measured; this machine's processor when None.
    """

    def __init__(self, talk: Talk, sensors: Sensors | None = None) -> None:
        self.talk, self.sensors = talk, sensors or Sensors()

    def wait(self) -> Pause | None:
        """Let the device recover; None if it does not throttle."""
        reason, start = self.sensors.throttled(), time.monotonic()
        if reason is None:
            return None
        self.talk.say(f"the device throttles ({reason}); waiting up to {_PATIENCE:.0f} s before it is measured")
        now: str | None = reason
        while now is not None and time.monotonic() - start < _PATIENCE:
            time.sleep(_INTERVAL)
            now = self.sensors.throttled()
        waited = time.monotonic() - start
        told = "it has recovered" if now is None else "it still throttles, and is measured all the same"
        self.talk.say(f"waited {waited:.0f} s: {told}")
        return Pause(reason, round(waited, 3), now is None)

    def recorder(self) -> Recorder:
        """A recorder of the sensors, to be entered around a measurement."""
        return Recorder(self.sensors)

    @staticmethod
    def signals(telemetry: Telemetry, moved: int, milliseconds: float) -> dict[str, Any]:
        """What the sensors said, as JSON values; memory traffic is modelled where nothing counts it.

        Args:
            telemetry: Of the session in which the network was timed.
            moved: Bytes that one inference of the network moves at the least.
            milliseconds: What that inference takes.
        """
        found = telemetry.to_json()
        if telemetry.bandwidth_gbs.value is None and milliseconds > 0:
            found["bandwidth_gbs"] = bandwidth_from(moved, milliseconds * 1e-3).to_json()
        return found


def bytes_of(model: nn.Module, example: Tensor) -> int:
    """Bytes that one inference moves at the least: every weight read once, every layer's input read, output written.

    What a runtime fuses or keeps in its caches is not known here, so this is a model of the traffic, not a count.

    Args:
        model: The network; left in the mode that it had.
        example: The input that is timed, batch dimension included.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        tensors = [*inputs, output, *module.parameters(recurse=False)]
        total += sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Conv1d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return total
