"""A target whose latency is a sum over layers."""

import json

from torch import nn

from autoprune.hardware import Measurement, Target


class Adding(Target):
    name = "adding"
    channel_multiple = 1

    def available(self):
        return None

    def versions(self):
        return {"runtime": "adding 1"}

    def pack(self, model, example):
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return json.dumps(0.01 + 1e-5 * sum(m.weight.numel() for m in layers)).encode()

    def pack_layer(self, layer, copies):
        weights = layer.inputs * layer.outputs * 9 if layer.kind == "conv" else layer.inputs * layer.outputs
        return json.dumps(0.01 + 1e-5 * copies * weights).encode()

    def time(self, payloads, protocol, progress=None):
        return [Measurement(json.loads(payload), 0.0, 1, "made up", True) for payload in payloads]
