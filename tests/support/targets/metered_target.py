"""A device whose energy is a formula of what a network does, with and without a sensor."""

import json

import torch
from torch import nn

from autoprune.hardware import Measurement, Target


def energy_by_formula(model, example):
    """Millijoules: 2 uJ a thousand multiply-accumulates, 1 uJ a hundred weights, 0.2 mJ a call."""
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        macs += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model.eval()(example)
    for hook in hooks:
        hook.remove()
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    return 0.2 + 2e-6 * macs + 1e-5 * weights


class Meter(Target):
    name = "meter"
    channel_multiple = 2
    source = "RAPL"

    def available(self):
        return None

    def versions(self):
        return {"runtime": "formula 1"}

    def pack(self, model, example):
        return json.dumps({"mj": energy_by_formula(model, example)}).encode()

    def time(self, payloads, protocol, progress=None):
        return [self._timed(json.loads(payload)["mj"]) for payload in payloads]

    def _timed(self, mj):
        return Measurement(3 * mj, 0.0, 1, "formula", True, {"energy_mj": mj, "energy_source": self.source})


class NoMeter(Meter):
    name = "no-meter"

    def _timed(self, mj):
        return Measurement(3 * mj, 0.0, 1, "formula", True, {"energy_mj": None, "energy_source": "no RAPL: not here"})


class FailsAtTheEnd(Meter):
    """Its sensor is gone when the finished network is timed, beside the dense one and the raw cut."""

    name = "fails-at-the-end"

    def time(self, payloads, protocol, progress=None):
        self.source = "RAPL: no such file" if len(payloads) in (3, 4) else "RAPL"
        return super().time(payloads, protocol, progress)

    def _timed(self, mj):
        known = super()._timed(mj)
        gone = {"energy_mj": None, "energy_source": self.source}
        return known if self.source == "RAPL" else Measurement(known.ms, 0.0, 1, "formula", True, gone)
