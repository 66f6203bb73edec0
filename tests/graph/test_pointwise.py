"""Every operator that torch itself calls pointwise leaves each channel to itself: the layer before it can be cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoprune.graph import analyse, cut, zero

_TENSORS = ("Tensor", "Optional[Tensor]")
_NOT_ONE_BY_ONE = {"equal"}  # one answer for all elements
_BACKWARD = {"gelu_backward", "logit_backward", "native_dropout_backward", "sigmoid_backward", "silu_backward"}
_BACKWARD |= {"tanh_backward", "threshold_backward"}  # a forward that calls these is none


def _tagged() -> dict[str, Any]:
    """Name -> one overload of every operator with the tag, for tensors where there is one."""
    found: dict[str, Any] = {}
    for full in sorted(torch._C._dispatch_get_all_op_names()):
        base, _, overload = full.removeprefix("aten::").partition(".")
        packet = getattr(torch.ops.aten, base, None) if full.startswith("aten::") else None
        operator = getattr(packet, overload or "default", None)
        if operator is None or torch.Tag.pointwise not in operator.tags or "out" in overload.lower():
            continue
        name = base.rstrip("_")
        known = found.get(name)
        if known is None or _tensors(operator) > _tensors(known):
            found[name] = operator
    return {name: op for name, op in found.items() if name not in _NOT_ONE_BY_ONE | _BACKWARD}


def _tensors(operator: Any) -> int:
    return sum(str(argument.type) in _TENSORS for argument in operator._schema.arguments)


def _arguments(operator: Any, tensors: list[Tensor]) -> list[Any]:
    """Tensors for tensors, small numbers for the other arguments that have to be given."""
    given, rest = [], iter(tensors)
    for argument in operator._schema.arguments:
        kind = str(argument.type)
        if kind in _TENSORS:
            given.append(next(rest))
        elif argument.has_default_value() or argument.kwarg_only:
            break
        else:
            given.append(1 if kind == "int" else 0.5)
    return given


def _as(kind: torch.dtype, x: Tensor) -> Tensor:
    """Values that most functions know: between 0.1 and 0.9, or whole numbers from 1 to 5."""
    return 0.1 + 0.8 * x.sigmoid() if kind.is_floating_point else (1 + 4 * x.sigmoid()).round().to(kind)


class Between(nn.Module):
    """An operator between a layer (for each of its tensors) and the next layer."""

    def __init__(self, operator: Any, kind: torch.dtype) -> None:
        super().__init__()
        self.operator, self.kind = operator, kind
        self.before = nn.ModuleList(nn.Linear(5, 6) for _ in range(_tensors(operator)))
        self.after = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        tensors = [_as(self.kind, layer(x)) for layer in self.before]
        result = self.operator(*_arguments(self.operator, tensors))
        first = result[0] if isinstance(result, tuple) else result
        return self.after(torch.nan_to_num(first.to(x.dtype), 0.0, 1.0, -1.0).clamp(-9, 9))


def _kind(operator: Any) -> torch.dtype | None:
    """The type of numbers that the operator takes; None where it takes more than tensors and numbers."""
    for kind in (torch.float64, torch.int64, torch.bool):
        try:
            operator(*_arguments(operator, [torch.ones(2, 3, dtype=kind)] * _tensors(operator)))
        except (RuntimeError, TypeError, NotImplementedError):
            continue
        return kind
    return None


OPERATORS = {name: (op, kind) for name, op in _tagged().items() if _tensors(op) and (kind := _kind(op)) is not None}


def test_the_operators_are_those_that_torch_has() -> None:
    assert len(OPERATORS) > 150
    assert {"clip", "isnan", "where", "hypot", "erfinv", "frexp", "bitwise_not"} <= OPERATORS.keys()


@pytest.mark.parametrize("name", OPERATORS)
def test_the_layers_before_a_pointwise_operator_can_be_cut(name: str) -> None:
    operator, kind = OPERATORS[name]
    torch.manual_seed(0)
    net, x = Between(operator, kind).double().eval(), torch.randn(2, 5, dtype=torch.float64)
    analysis = analyse(net, x)
    assert {group.name: group.width for group in analysis.groups} == {"before.0": 6}, analysis.frozen
    kept = {"before.0": [0, 2, 5]}
    with torch.no_grad():
        torch.testing.assert_close(cut(net, analysis, kept)(x), zero(net, analysis, kept)(x))
