"""A target of another package, in one file: a device that takes a nanosecond for every multiply-accumulate."""

import json

import torch
from torch import nn

from autoprune.hardware import Layer, Measurement, Target


class Ruler(Target):
    name = "ruler"
    channel_multiple = 2
    channel_multiple_reason = "it computes two channels at a time"

    def available(self):
        return None

    def versions(self):
        return {"runtime": "ruler 1"}

    def pack(self, model, example):
        macs = 0

        def count(module, inputs, output):
            nonlocal macs
            macs += module.weight[0].numel() * output.numel()

        hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        training = model.training
        with torch.no_grad():
            model.eval()(example)
        model.train(training)
        for hook in hooks:
            hook.remove()
        return json.dumps(1000 + macs).encode()

    def pack_layer(self, layer: Layer, copies):
        return json.dumps(1000 + copies * layer.macs).encode()

    def time(self, payloads, protocol, progress=None):
        return [Measurement(json.loads(payload) * 1e-6, 0.0, 1, "ruler", True) for payload in payloads]
