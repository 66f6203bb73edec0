"""What an operator of a traced network is called, and whether it costs anything at all."""

from __future__ import annotations

from autoprune.graph.analysis import Op

__all__ = ["is_free", "operator_name"]

# Operators that move no data, or none in evaluation mode.
_FREE = frozenset(
    {
        "alias",
        "clone",
        "contiguous",
        "detach",
        "dropout",
        "expand",
        "expand_as",
        "feature_dropout",
        "flatten",
        "permute",
    }
    | {"reshape", "squeeze", "t", "transpose", "unflatten", "unsqueeze", "view"}
)


def operator_name(op: Op) -> str:
    """The ATen operator without its overload: `aten.relu_.default` is `relu`."""
    return op.operator.split(".")[1].rstrip("_") if "." in op.operator else op.operator


def is_free(op: Op) -> bool:
    """Whether an operator moves no data in evaluation mode, or is not executed at all."""
    return operator_name(op) in _FREE
