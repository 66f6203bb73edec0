"""Rules of Fourier transforms: the dimensions transformed must stay whole, the others pass; and of complex numbers."""

from __future__ import annotations

from torch.fx import Node

from autoprune.graph.coupling.flow import Flow, Result, Unknown, shape_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk

__all__: list[str] = []

_KINDS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")


@rule(*(f"fft_{kind}{rank}" for kind in _KINDS for rank in ("", "2", "n")), "_fft_c2c", "_fft_r2c", "_fft_c2r")
@rule("fft_fftshift", "fft_ifftshift")
def transform(walk: Walk, node: Node, args: Arguments) -> Result:
    """Everything along the dimensions transformed depends on everything along them."""
    x, shape = walk.need(args.get("self", args.get("input"))), shape_of(node)
    if shape is None or len(shape) != len(x.shape):
        raise Unknown
    rank = len(shape)
    axes = {axis % rank for axis in _axes(node, args, rank)}
    for axis in axes:
        walk.freeze(x.dims[axis], node, "transformed by")
    dims = [None if axis in axes else atoms for axis, atoms in enumerate(x.dims)]
    return walk.record(node, "other", [x], Flow(shape, tuple(dims)))


def _axes(node: Node, args: Arguments, rank: int) -> list[int]:
    """The dimensions transformed: those given, else as many as sizes are given, else all."""
    given = args.get("dim")
    if isinstance(given, int):
        return [given]
    if given:
        return list(given)
    sizes = args.get("s")
    count = len(sizes) if isinstance(sizes, list | tuple) else rank
    return list(range(-count, 0))


@rule("view_as_real")
def as_real(walk: Walk, node: Node, args: Arguments) -> Result:
    """Real and imaginary part side by side, as a new last dimension."""
    x = walk.need(args["self"])
    return Flow((*x.shape, 2), (*x.dims, None), x.tensor)


@rule("view_as_complex")
def as_complex(walk: Walk, node: Node, args: Arguments) -> Result:
    """The last dimension holds real and imaginary part."""
    x = walk.need(args["self"])
    walk.freeze(x.dims[-1], node)
    return Flow(x.shape[:-1], x.dims[:-1], x.tensor)
