"""How the weight of a convolution or linear layer lies in its parameter."""

from __future__ import annotations

from collections.abc import Mapping

from torch.fx import Node

from autoprune.graph.coupling.flow import OpRecord
from autoprune.graph.coupling.rule_table import base_name

__all__ = ["weight_dims"]

_ARGUMENT = {"addmm": 2, "mm": 1, "matmul": 1}
"""Where products other than convolutions and linear layers have their matrix, which is (in, out) there."""

_FLIPS = ("t", "transpose", "permute", "numpy_T", "matrix_H", "adjoint")
_VIEWS = ("alias", "detach", "contiguous")


def weight_dims(record: OpRecord, tensors: Mapping[str, str]) -> tuple[int, int] | None:
    """Which dimensions of a weight's parameter count the outputs and the inputs; None where the weight is computed.

    Args:
        record: An operator.
        tensors: Name of a graph node -> the parameter or buffer that it is.
    """
    operator = base_name(record.node)
    if record.kind not in ("conv", "depthwise", "linear") or operator == "einsum" or not record.params:
        return None
    place = _ARGUMENT.get(operator, 1)
    found = record.node.args[place] if place < len(record.node.args) else None
    flipped = operator in _ARGUMENT or bool(record.settings.get("transposed"))
    while isinstance(found, Node) and found.name not in tensors:
        step = base_name(found) if found.op == "call_function" else ""
        if step not in (*_FLIPS, *_VIEWS) or (step in _FLIPS and len(record.params[0].shape) != 2):
            return None
        flipped ^= step in _FLIPS and not _keeps_order(found)
        found = found.args[0] if found.args else None
    if not isinstance(found, Node) or tensors[found.name] != record.params[0].tensor:
        return None
    return (1, 0) if flipped else (0, 1)


def _keeps_order(node: Node) -> bool:
    """Whether a transposition of a matrix changes nothing: of a dimension with itself."""
    dims = [part for arg in node.args[1:] for part in (arg if isinstance(arg, list | tuple) else [arg])]
    numbers = [int(dim) % 2 for dim in dims if isinstance(dim, int)]
    return numbers == [0, 1] if base_name(node) == "permute" else len(numbers) == 2 and numbers[0] == numbers[1]
