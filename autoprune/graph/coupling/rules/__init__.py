"""How each family of operators couples the units of its inputs and outputs; importing a family registers its rules."""

from autoprune.graph.coupling.rules import (
    attention,
    contract,
    dense,
    join,
    norm,
    pointwise,
    rearrange,
    recurrent,
    reduce,
    shape,
)

__all__ = ["attention", "contract", "dense", "join", "norm", "pointwise", "rearrange", "recurrent", "reduce", "shape"]
