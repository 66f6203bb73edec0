"""Networks that keep what they compute, on themselves or through hooks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

KEPT: dict[str, Tensor] = {}


class Two(nn.Module):
    """Two convolutions, for images (N, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.seen: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


class Keeping(Two):
    """Keeps an activation, two levels deep."""

    def forward(self, x: Tensor) -> Tensor:
        self.feature = (self.a(x),)
        return self.b(torch.relu(self.feature[0]))


class Recorder:
    """An object beside a network that hooks into it."""

    def __init__(self, net: nn.Module, way: str) -> None:
        self.net, self.kept = net, dict[str, Any]()
        hooks = {
            "closure": lambda module, given, output: self.put(module, given, output),
            "method": self.put,
            "default": lambda module, given, output, kept=self.kept: kept.__setitem__("a", output),
            "partial": partial(_put, self.kept),
        }
        net.a.register_forward_hook(hooks[way])

    def put(self, module: nn.Module, given: Any, output: Tensor) -> None:
        """The hook."""
        self.kept["a"] = output


def _put(kept: dict[str, Any], module: nn.Module, given: Any, output: Tensor) -> None:
    kept["a"] = output


def hooked_on_itself() -> nn.Module:
    net = Two()
    net.a.register_forward_hook(lambda module, given, output: net.seen.__setitem__("a", output))
    return net


def hooked_globally() -> nn.Module:
    net = Two()
    net.a.register_forward_hook(lambda module, given, output: KEPT.__setitem__("a", output))
    return net
