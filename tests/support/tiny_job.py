"""A job of seconds, as a user would write it: a network, its loaders, and a target whose latencies are a formula."""

import hashlib
import json
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autoprune.hardware import Layer, Measurement, Target
from autoprune.hardware.sensors.telemetry import Sensors


class Tiny(nn.Module):
    """Four convolutions, two of them in a residual branch, and a linear head; three decisions."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(24)
        self.inner = nn.Conv2d(24, 24, 3, padding=1)
        self.outer = nn.Conv2d(24, 24, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(24)
        self.fc = nn.Linear(24, 4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(x + self.bn3(self.outer(torch.relu(self.inner(x)))))
        return self.fc(x.mean((2, 3)))


def network():
    return Tiny()


def other():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def blind():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 4))


def narrow():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def images(count, seed, classes=4):
    """Which corner of a noisy image is bright."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=draw)
    pixels = torch.randn(count, 1, 8, 8, generator=draw)
    for image, label in zip(pixels, labels, strict=True):
        row, column = 4 * (int(label) // 2), 4 * (int(label) % 2)
        image[0, row : row + 4, column : column + 4] += 1.0
    return TensorDataset(pixels, labels)


def loaders():
    """Loaders that shuffle, one with a generator of its own: its state says how often it was read."""
    own = torch.Generator().manual_seed(7)
    return (
        DataLoader(images(192, 0), batch_size=64, shuffle=True, generator=own),
        DataLoader(images(128, 1), batch_size=32, shuffle=True),
        DataLoader(images(128, 2), batch_size=64),
    )


def mirrored():
    """The same images upside down."""
    parts = (TensorDataset(images(n, seed).tensors[0].flip(2), images(n, seed).tensors[1]) for n, seed in
             ((64, 10), (32, 11), (32, 12)))  # fmt: skip
    return tuple(DataLoader(part, batch_size=16) for part in parts)


def loaders_of_one_class():
    return tuple(DataLoader(images(64, seed, classes=1), batch_size=32) for seed in range(3))


def loaders_with_nan():
    broken = images(64, 0)
    broken.tensors[0][3, 0, 2, 2] = math.nan
    return tuple(DataLoader(broken, batch_size=32) for _ in range(3))


def loaders_without_a_batch():
    train = DataLoader(images(16, 0), batch_size=32, drop_last=True)
    return (train, *loaders()[1:])


def _layer_ms(layer):
    pixels = math.prod(layer.out_size)
    if layer.kind == "linear":
        return 1e-3 + 1e-6 * layer.inputs * layer.outputs
    if layer.kind != "conv":
        return 1e-4
    return 2e-3 + 1e-6 * math.ceil(layer.outputs / 4) * 4 * layer.inputs * pixels


class Formula(Target):
    """Layers add up; whole networks take up to 9 % more or less by their widths, and 4 % by their weights.

    So policies miss the budget as measured, finished networks miss it again, and limits must be tightened.
    """

    name = "formula"
    channel_multiple = 2
    by_widths, by_weights = 0.09, 0.04

    def available(self):
        return None

    def versions(self):
        return {"runtime": "formula 1"}

    def sensors(self):
        return Sensors()  # it is computed on this machine

    def pack(self, model, example):
        total, widths = 0.01, []

        def add(module, inputs, output):
            nonlocal total
            total += _layer_ms(_layer_of(module, inputs[0], output))
            widths.append(int(output.shape[1]))

        hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        with torch.no_grad():
            model.eval()(example)
        for hook in hooks:
            hook.remove()
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        total *= 1 + self.by_widths * _chance(str(widths).encode())
        total *= 1 + self.by_weights * _chance(weights)
        return json.dumps({"ms": total}).encode()

    def pack_layer(self, layer, copies):
        return json.dumps({"layer": layer.to_json(), "copies": copies}).encode()

    def time(self, payloads, protocol, progress=None):
        results = []
        for payload in payloads:
            content = json.loads(payload)
            ms = content.get("ms", 0.003)
            if "layer" in content:
                ms += content["copies"] * _layer_ms(Layer.from_json(content["layer"]))
            results.append(Measurement(ms, 0.0, 1, "formula", True))
        return results


def _chance(content):
    """A number in [-1, 1] that depends on these bytes alone."""
    return hashlib.sha256(content).digest()[0] / 127.5 - 1


class Exact(Formula):
    """A network takes what its layers add up to."""

    name = "exact"
    by_widths, by_weights = 0.0, 0.0


class Late(Formula):
    """A finished network takes 12 % more than the same widths before the fine-tuning."""

    name = "late"

    def pack(self, model, example):
        seen = [int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        ms = json.loads(super().pack(model, example))["ms"]
        return json.dumps({"ms": ms * (1.12 if max(seen) > 15 else 1.0)}).encode()


class Coarse(Formula):
    """Its grid of widths is too coarse for small budgets, which need a second table."""

    name = "coarse"
    channel_multiple = 8


class Absent(Formula):
    name = "absent"

    def available(self):
        return "no board is plugged in; plug it in"


def _layer_of(module, x, y):
    if isinstance(module, nn.Linear):
        return Layer("linear", module.in_features, module.out_features)
    return Layer(
        "conv",
        x.shape[1],
        y.shape[1],
        size=tuple(x.shape[2:]),
        out_size=tuple(y.shape[2:]),
        kernel=module.kernel_size,
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        groups=module.groups,
    )


class Elsewhere(Formula):
    """A board: what this machine's sensors say has nothing to do with it."""

    name = "elsewhere"

    def sensors(self):
        return Target.sensors(self)


class Backwards(Formula):
    """Another device, on which a layer takes as long as it has outputs, however large the image is."""

    name = "backwards"

    def pack(self, model, example):
        total = 0.003

        def add(module, inputs, output):
            nonlocal total
            total += self._layer_ms(_layer_of(module, inputs[0], output))

        hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        with torch.no_grad():
            model.eval()(example)
        for hook in hooks:
            hook.remove()
        return json.dumps({"ms": total}).encode()

    def pack_layer(self, layer, copies):
        return json.dumps({"ms": 0.003 + copies * self._layer_ms(layer)}).encode()

    @staticmethod
    def _layer_ms(layer):
        return 2e-4 + (5e-4 * layer.outputs if layer.kind in ("conv", "linear") else 0.0)
