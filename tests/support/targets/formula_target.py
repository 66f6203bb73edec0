"""A target that computes latencies by a formula: what a table must find out, without a clock."""

import json
import math

import torch
from torch import nn

from autoprune.errors import TargetError
from autoprune.hardware import Layer, Measurement, Target

GAIN = {"1x1": 1.5, "3x3": 1.1, "depthwise": 2.0, "other": 1.0}  # a network's layers against layers alone
CONSTANT, OVERHEAD = 0.02, 0.003


def stairs(layer: Layer) -> float:
    """Milliseconds of one layer: stairs of 16 in the outputs, of 4 in the inputs."""
    outputs, inputs = math.ceil(layer.outputs / 16) * 16, math.ceil(layer.inputs / 4) * 4
    pixels = math.prod(layer.out_size)
    if layer.kind == "linear":
        return 1e-3 + 1e-6 * layer.inputs * layer.outputs
    if layer.kind != "conv":
        return 1e-4 + 1e-7 * layer.inputs * math.prod(layer.size)
    if layer.groups == layer.inputs > 1:
        return 1e-3 + 1e-6 * outputs * pixels
    return 1e-3 + 1e-7 * inputs * outputs * pixels * math.prod(layer.kernel)


class MadeUpTarget(Target):
    """Times everything by `stairs`; counts what it was asked."""

    name = "made-up"
    channel_multiple = 4
    fused = frozenset({"batch_norm", "relu", "add"})
    breaks_after: float = math.inf

    def __init__(self, *, threads: int = 1) -> None:
        super().__init__(threads=threads)
        self.timed_layers: list[str] = []
        self.timed_networks = 0
        self.version = "1"

    def available(self):
        return None

    def versions(self):
        return {"runtime": f"formula {self.version}"}

    def pack(self, model, example):
        total = CONSTANT

        def add(module, inputs, output):
            nonlocal total
            layer = layer_of(module, inputs[0], output)
            total += GAIN[layer.group] * stairs(layer)

        kinds = (nn.Conv2d, nn.Linear, nn.AdaptiveAvgPool2d, nn.MaxPool2d)
        hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, kinds)]
        with torch.no_grad():
            model.eval()(example)
        for hook in hooks:
            hook.remove()
        return json.dumps({"ms": total}).encode()

    def copies(self, layer):
        return 4 if layer.kind == "conv" else 1

    def pack_layer(self, layer, copies):
        return json.dumps({"layer": layer.to_json(), "copies": copies}).encode()

    def time(self, payloads, protocol, progress=None):
        results = []
        for payload in payloads:
            content = json.loads(payload)
            if "ms" in content:
                self.timed_networks += 1
                ms = content["ms"]
            else:
                layer = Layer.from_json(content["layer"])
                self.timed_layers.append(layer.key)
                ms = OVERHEAD + content["copies"] * stairs(layer)
            if len(self.timed_layers) > self.breaks_after:
                raise TargetError("target 'made-up': the cable was pulled")
            results.append(Measurement(ms, 0.0, 1, "formula", True))
        return results


class WholeNetworksOnly(MadeUpTarget):
    """A device that cannot time a layer alone."""

    name = "whole"

    def pack_layer(self, layer, copies):
        return None


def layer_of(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Layer:
    if isinstance(module, nn.Linear):
        return Layer("linear", module.in_features, module.out_features)
    size, out_size = tuple(x.shape[2:]), tuple(y.shape[2:])
    if not isinstance(module, nn.Conv2d):
        return Layer("pool", x.shape[1], y.shape[1], size=size, out_size=out_size)
    return Layer(
        "conv",
        x.shape[1],
        y.shape[1],
        size=size,
        out_size=out_size,
        kernel=module.kernel_size,
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        groups=module.groups,
    )
