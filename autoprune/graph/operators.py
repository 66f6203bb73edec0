"""What an operator of a traced network is called, and whether it costs anything at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from autoprune.graph.analysis import Op, Shape

__all__ = ["WEIGHTED", "executed", "is_free", "moves_no_data", "operator_name"]

WEIGHTED = ("conv", "depthwise", "linear")
"""Kinds of operators that have multiply-accumulates."""

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
    return moves_no_data(operator_name(op))


def moves_no_data(name: str) -> bool:
    """Whether the ATen operator of a name, without its overload, moves no data in evaluation mode."""
    return name in _FREE


def executed(ops: Iterable[Op], fused: Collection[str]) -> Iterator[Op]:
    """The operators that a runtime executes as such, in forward order: neither free nor fused into another.

    An operator of `fused` that follows a convolution or linear layer, and keeps its shape, is executed inside it.
    (Forward order is taken for data flow here: the graph's edges are not part of an analysis. A wrong guess costs one
    elementwise pass, and the correction that is fitted on whole networks takes it up.)

    Args:
        ops: Of an analysis, in forward order.
        fused: Names of the ATen operators that the runtime fuses; a target's `fused`.
    """
    reached: Shape | None = None  # the shape up to which the last weighted operator reaches
    for op in ops:
        if is_free(op):
            continue
        if op.kind not in WEIGHTED and operator_name(op) in fused and op.output == reached:
            continue
        yield op
        reached = op.output if op.kind in WEIGHTED else None
