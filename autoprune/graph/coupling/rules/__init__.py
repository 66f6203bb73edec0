"""How each family of operators couples the units of its inputs and outputs; importing a family registers its rules."""

from autoprune.graph.coupling.rules import (
    attention,
    convolution,
    einsum,
    fourier,
    join,
    norm,
    pointwise,
    rearrange,
    recurrent,
    reduce,
    resample,
    scatter,
    shape,
)

__all__ = [
    "attention",
    "convolution",
    "einsum",
    "fourier",
    "join",
    "norm",
    "pointwise",
    "rearrange",
    "recurrent",
    "reduce",
    "resample",
    "scatter",
    "shape",
]
