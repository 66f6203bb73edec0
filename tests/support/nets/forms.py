"""Forms of the call: several inputs and outputs, dataclasses, detached and silent branches, sizes by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from tests.support.nets.plain import Case, Net, conv, pooled


@dataclass
class Scored:
    """What a model may return."""

    logits: Tensor
    extras: dict[str, Tensor]


class Slotted:
    """An output class without a dictionary, of which one part is a chain of objects that ends where it began."""

    __slots__ = ("__aux", "logits", "ring")

    def __init__(self, logits: Tensor, aux: Tensor) -> None:
        self.logits, self.__aux = logits, {"aux": [aux]}
        self.ring = SimpleNamespace(back=self)


class Answers(nn.Module):
    """A body whose result may have any form."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.form = conv(3, 8), conv(8, 6), conv(6, 4), conv(8, 3), form

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.a(x))
        return self.form(self.c(F.relu(self.b(x))), self.d(x))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(3, 8), nn.Linear(5, 8), conv(8, 6), nn.Linear(6, 3)

    def forward(self, image: Tensor, line: Tensor, scale: float = 2.0, mask: Tensor | None = None) -> Tensor:
        x = F.relu(self.a(image)) * torch.sigmoid(self.b(line))[:, :, None, None]
        x = F.relu(self.c(x * scale))
        return self.fc((x if mask is None else x * mask).mean((2, 3)))


def detached() -> nn.Module:
    def body(n: Net, x: Tensor) -> Tensor:
        x = n.a(x)
        with torch.no_grad():
            gate = torch.sigmoid(n.g(x.detach()))
        return pooled(n, n.b(x * gate.detach()))

    return Net(body, a=conv(3, 8), g=conv(8, 8), b=conv(8, 6), fc=nn.Linear(6, 3))


def input_residual() -> nn.Module:
    """The input is added: its width stays, what lies within the branch does not."""

    def body(n: Net, x: Tensor) -> Tensor:
        x = x + n.b(F.relu(n.a(x)))
        return pooled(n, F.relu(n.c(x)))

    return Net(body, a=conv(3, 6), b=conv(6, 3), c=conv(3, 5), fc=nn.Linear(5, 3))


def input_concat() -> nn.Module:
    """The input is joined to the features, as U-Nets and NeRFs do."""

    def body(n: Net, x: Tensor) -> Tensor:
        return pooled(n, F.relu(n.b(torch.cat([x, F.relu(n.a(x))], 1))))

    return Net(body, a=conv(3, 6), b=conv(9, 5), fc=nn.Linear(5, 3))


def numbered(view: Callable[[Tensor], Tensor]) -> nn.Module:
    """A head behind some view, whose sizes may be numbers."""

    def body(n: Net, x: Tensor) -> Tensor:
        return n.fc(F.relu(n.b(view(F.adaptive_avg_pool2d(F.relu(n.a(x)), 2)))))

    return Net(body, a=conv(3, 6), b=nn.Linear(24, 5), fc=nn.Linear(5, 3))


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = conv(3, 8), conv(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        with torch.autocast("cpu", enabled=False):
            x = self.b(x)
        return self.fc(F.relu(x).mean((2, 3)))


class Looped(nn.Module):
    """One step is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.step, self.up, self.fc = conv(3, 8), conv(8, 6), conv(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        for _ in range(3):
            x = x + self.up(F.relu(self.step(x)))
        return self.fc(x.mean((2, 3)))


class Checks(nn.Module):
    """Assertions about shapes, and a branch that is decided by them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = conv(3, 8), conv(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 4, x.shape
        x = self.a(x)
        if x.shape[-1] > 4:
            x = F.max_pool2d(x, 2)
        x = torch.as_tensor(x).contiguous().to(x.dtype)
        return self.fc(F.relu(self.b(x)).mean((2, 3)))


class Branching(nn.Module):
    """Control flow that depends on values."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.a, self.b, self.fc, self.way = conv(3, 8), conv(8, 6), nn.Linear(6, 3), way

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        if self.way == "if" and x.mean() > 0.1:
            x = x * 2
        if self.way == "item":
            x = x[:, :, : int(x.abs().max().item()) + 1]
        if self.way == "mask":
            x = x[x.sum((1, 2, 3)) > 0]
        if self.way == "while":
            while x.norm() > 1:
                x = x / 2
        if self.way == "numpy":
            x = x + float(x.detach().numpy().mean())
        return self.fc(self.b(x).mean((2, 3)))


def outputs(form: Callable[[Tensor, Tensor], Any]) -> Case:
    return Case(lambda: Answers(form), {"a": 8, "b": 6}, {"c": "model output", "d": "model output"})


FORM_CASES: Mapping[str, Case] = {
    "tuple_out": outputs(lambda one, other: (one, [other, one])),
    "dict_out": outputs(lambda one, other: {"out": one, "aux": {"deep": other}}),
    "dataclass_out": outputs(lambda one, other: Scored(one, {"aux": other})),
    "namespace_out": outputs(lambda one, other: (one, SimpleNamespace(deep=SimpleNamespace(aux=other)))),
    "figure_out": Case(
        lambda: Answers(lambda one, other: (one, SimpleNamespace(score=other.mean(1)))),
        {"a": 8, "b": 6},
        {"c": "model output", "d": "summed over"},
    ),
    "slots_out": outputs(Slotted),
    "distribution_out": Case(
        lambda: Answers(lambda one, other: (one, Normal(other, F.softplus(other)))),
        {"a": 8, "b": 6},
        {"c": "model output", "d": "model output"},
    ),
    "closure_out": outputs(lambda one, other: (one, partial(lambda: other, 1))),
    "none_out": outputs(lambda one, other: (one, None, other)),
    "detached": Case(detached, {"a": 8, "b": 6}),
    "input_residual": Case(input_residual, {"a": 6, "c": 5}, {"b": "meets a tensor of fixed width in aten.add"}),
    "input_concat": Case(input_concat, {"a": 6, "b": 5}),
    "view_minus_one": Case(lambda: numbered(lambda x: x.view(x.shape[0], -1)), {"a": 6, "b": 5}),
    "view_derived": Case(lambda: numbered(lambda x: x.reshape(-1, x.shape[1] * 4)), {"a": 6, "b": 5}),
    "view_start_dim": Case(lambda: numbered(lambda x: torch.flatten(x, start_dim=1)), {"a": 6, "b": 5}),
    "view_number": Case(lambda: numbered(lambda x: x.view(-1, 24)), {"b": 5}, {"a": "invalid for input of size"}),
    "autocast_off": Case(Autocast, {"a": 8, "b": 6}),
    "looped": Case(Looped, {"a": 8, "step": 6}),
    "checks": Case(Checks, {"a": 8, "b": 6}),
}
