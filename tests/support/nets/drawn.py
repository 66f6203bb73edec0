"""Networks, outputs, hooks, inputs, modes and types drawn at random: each must be cut right, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

__all__ = ["Drawn", "Plan", "plans"]

LAYERS = (
    *("conv", "wide", "depthwise", "grouped", "relu", "sigmoid", "batch_norm", "layer_norm", "group_norm", "pool"),
    *("residual", "gate", "concat", "halves", "shuffle", "dropout", "attention", "state", "squeeze", "noise", "mean"),
)
OUTPUTS = ("tensor", "tuple", "dict", "dataclass", "namespace", "object", "hidden", "masked")
HOOKS = ("none", "model", "dict", "method", "changes")
INPUTS = ("one", "two", "dict", "none", "written", "popped")
WIDTHS = (2, 3, 4, 6, 8)


@dataclass(frozen=True)
class Plan:
    """What is drawn."""

    layers: tuple[tuple[str, int], ...]
    output: str
    hook: str
    given: str
    train: bool
    dtype: torch.dtype
    batch: int
    ran: bool


def plans() -> st.SearchStrategy[Plan]:
    """Plans of one to six layers."""
    layer = st.tuples(st.sampled_from(LAYERS), st.sampled_from(WIDTHS))
    return st.builds(
        Plan,
        layers=st.lists(layer, min_size=1, max_size=6).map(tuple),
        output=st.sampled_from(OUTPUTS),
        hook=st.sampled_from(HOOKS),
        given=st.sampled_from(INPUTS),
        train=st.booleans(),
        dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
        batch=st.integers(1, 3),
        ran=st.booleans(),
    )


@dataclass
class Result:
    """Outputs in a dataclass."""

    logits: Tensor
    extra: Tensor


class Plain:
    """Outputs in an object of a class of the user's."""

    def __init__(self, logits: Tensor, extra: Tensor) -> None:
        self.logits, self.extra = logits, extra


class Step(nn.Module):
    """One drawn layer, for (N, width, H, W)."""

    def __init__(self, kind: str, width: int, to: int) -> None:
        super().__init__()
        self.kind, self.out = kind, width
        if kind in ("conv", "wide"):
            self.out = to * (1 + (kind == "wide"))
            self.a: Any = nn.Conv2d(width, self.out, 3, padding=1)
        elif kind == "depthwise":
            self.a = nn.Conv2d(width, width, 3, padding=1, groups=width)
        elif kind == "grouped":
            self.a = nn.Conv2d(width, width, 1, groups=2 if width % 2 == 0 else 1)
        elif kind == "batch_norm":
            self.a = nn.BatchNorm2d(width)
        elif kind == "mean":
            self.weight = nn.Parameter(torch.ones(width, 1, 1))
        elif kind == "layer_norm":
            self.a = nn.LayerNorm(width)
        elif kind == "group_norm":
            self.a = nn.GroupNorm(2 if width % 2 == 0 else 1, width)
        elif kind in ("residual", "gate", "concat", "squeeze"):
            self.a, self.b = nn.Conv2d(width, to, 1), nn.Conv2d(to, width, 1)
            self.out = width * (1 + (kind == "concat"))
        elif kind == "halves":
            self.a, self.out = nn.Conv2d(width, 2 * to, 1), to
        elif kind == "attention":
            self.a, self.b = nn.Conv2d(width, 8, 1), nn.MultiheadAttention(8, 2, batch_first=True)
            self.out = 8
        elif kind == "state":
            self.register_buffer("h", torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, f"_{self.kind}", self._layer)(x)

    def _layer(self, x: Tensor) -> Tensor:
        return self.a(x)

    def _relu(self, x: Tensor) -> Tensor:
        return torch.relu(x)

    def _sigmoid(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def _pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, ceil_mode=True)

    def _layer_norm(self, x: Tensor) -> Tensor:
        return self.a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _residual(self, x: Tensor) -> Tensor:
        return x + self.b(torch.relu(self.a(x)))

    def _gate(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.b(self.a(x)))

    def _squeeze(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.b(torch.relu(self.a(x.mean((2, 3), keepdim=True)))))

    def _concat(self, x: Tensor) -> Tensor:
        return torch.cat([self.b(self.a(x)), x], 1)

    def _halves(self, x: Tensor) -> Tensor:
        one, other = self.a(x).chunk(2, 1)
        return one * torch.sigmoid(other)

    def _shuffle(self, x: Tensor) -> Tensor:
        if x.shape[1] % 2:
            return x.flip(1)
        return x.view(x.shape[0], 2, x.shape[1] // 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)

    def _dropout(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3, self.training)

    def _attention(self, x: Tensor) -> Tensor:
        tokens = self.a(x).flatten(2).transpose(1, 2)
        return self.b(tokens, tokens, tokens)[0].transpose(1, 2).unflatten(2, x.shape[2:])

    def _state(self, x: Tensor) -> Tensor:
        y = x + self.h
        self.h.copy_(y.detach().mean((0, 2, 3), keepdim=True))
        return y

    def _noise(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x) if self.training else x

    def _mean(self, x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) * self.weight


class Drawn(nn.Module):
    """The network of a plan, its weights and statistics random, with its hooks and an example of its input."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan, width, steps = plan, 4, []
        self.stem, self.side = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(3, width, 1)
        for kind, to in plan.layers:
            steps.append(Step(kind, width, to))
            width = steps[-1].out
        self.steps, self.head = nn.ModuleList(steps), nn.Linear(width, 5)
        self.seen: dict[str, Any] = {}
        self.redraw()
        self.to(plan.dtype).train(plan.train)

    def redraw(self) -> Drawn:
        """Weights and statistics at random, in the precision that they have: f(0) is 0 nowhere."""
        with torch.no_grad():
            for name, tensor in self.state_dict(keep_vars=True).items():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5) if name.endswith("var") else tensor.uniform_(-0.6, 0.6)
        return self

    def forward(self, x: Tensor, other: Any = None) -> Any:
        if isinstance(other, dict):
            other = other.pop("other") if self.plan.given == "popped" else other["other"]
        if self.plan.given == "written":
            x.mul_(0.5)
        y = self.stem(x)
        y = y if other is None else y + self.side(other)
        for step in self.steps:
            y = step(y)
        logits = self.head(torch.tanh(y).mean((2, 3)))
        return self._returned(logits, y, x)

    def _returned(self, logits: Tensor, y: Tensor, x: Tensor) -> Any:
        kind, extra = self.plan.output, logits.softmax(1)
        if kind == "tuple":
            return logits, [extra, None]
        if kind == "dict":
            return {"logits": logits, "more": {"extra": extra}}
        if kind == "hidden":
            return SimpleNamespace(logits=logits, features=y)
        if kind == "masked":
            return logits.masked_fill(x[:, :1, 0, 0] > 0, -torch.inf) if len(x) > 1 else logits
        made: dict[str, Callable[..., Any]] = {"dataclass": Result, "namespace": SimpleNamespace, "object": Plain}
        return made[kind](logits=logits, extra=extra) if kind in made else logits

    def example(self) -> Any:
        """An input; fresh tensors for each call."""
        generator = torch.Generator().manual_seed(0)
        x, other = (torch.randn(self.plan.batch, 3, 6, 6, generator=generator).to(self.plan.dtype) for _ in range(2))
        if self.plan.given == "two":
            return x, other
        if self.plan.given == "dict":
            return {"x": x, "other": {"other": other}}
        if self.plan.given == "popped":
            return x, {"other": other, "left": 3}
        return (x, None) if self.plan.given == "none" else x

    def hook(self, store: dict[str, Any]) -> None:
        """Register the plan's hook on the stem; some write to the model's dict, some to the user's."""
        if self.plan.hook == "model":
            self.stem.register_forward_hook(lambda module, args, output: self.seen.__setitem__("stem", output))
        elif self.plan.hook == "dict":
            self.stem.register_forward_hook(lambda module, args, output: store.__setitem__("stem", output))
        elif self.plan.hook == "method":
            self.stem.register_forward_hook(self.keep)
        elif self.plan.hook == "changes":
            self.stem.register_forward_hook(lambda module, args, output: output * 2)

    def keep(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """A hook."""
        self.seen["kept"] = output
