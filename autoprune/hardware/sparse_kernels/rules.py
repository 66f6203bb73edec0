"""What the kernels of sparse tensor cores ask of a layer and of a GPU, back end by back end.

torch has two: cuSPARSELt, where torch was built with it, and CUTLASS. They multiply a 2:4 matrix (outputs, inputs) with
a dense one. A linear layer is one such product; so is a convolution with a kernel of 1; a larger kernel is one over
(kernel positions x input channels), for which the image has to be unfolded first (implicit GEMM).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autoprune.hardware.contract.layer import Layer

__all__ = ["BACKENDS", "SPARSE_VARIANT", "Backend", "Gpu", "Multiples", "backends_for", "product_sizes", "why_not"]

SPARSE_VARIANT = "2:4"
"""What a layer with these kernels is called in latency tables."""

_GROUP = 4
_EIGHT = 8  # major compute capability of the first GPUs with sparse tensor cores, Ampere's


@dataclass(frozen=True)
class Multiples:
    """What the sizes of a sparse matrix must be multiples of.

    Attributes:
        outputs: Its rows.
        inputs: Its columns; of a convolution kernel positions x input channels.
    """

    outputs: int
    inputs: int


@dataclass(frozen=True)
class Gpu:
    """A GPU, as far as kernels ask.

    Attributes:
        capability: Compute capability, (major, minor).
        cusparselt: Whether torch was built with cuSPARSELt.
    """

    capability: tuple[int, int]
    cusparselt: bool


@dataclass(frozen=True, eq=False)
class Backend:
    """A library of kernels, as torch calls it.

    Attributes:
        name: `cusparselt` or `cutlass`.
        multiples: Precision -> sizes of the weight. The dense operand is padded by torch.
        majors: Major compute capabilities on which it runs; empty for every one from 8 on.
    """

    name: str
    multiples: Mapping[str, Multiples]
    majors: tuple[int, ...] = ()

    def why_not_on(self, gpu: Gpu) -> str | None:
        """Why it does not run on a GPU, in words; None if it does."""
        major, minor = gpu.capability
        if major < _EIGHT:
            return f"compute capability {major}.{minor}; sparse tensor cores begin with 8.0"
        if self.name == "cusparselt" and not gpu.cusparselt:
            return "this build of torch has no cuSPARSELt"
        if self.majors and major not in self.majors:
            known = ", ".join(f"{each}.x" for each in self.majors)
            return f"compute capability {major}.{minor}; its kernels in torch are for {known}"
        return None


_CUSPARSELT = Backend("cusparselt", {"f16": Multiples(16, 16), "bf16": Multiples(16, 16), "int8": Multiples(32, 32)})
_CUTLASS = Backend(
    "cutlass", {"f16": Multiples(32, 64), "bf16": Multiples(32, 64), "int8": Multiples(16, 128)}, majors=(_EIGHT,)
)

BACKENDS: Mapping[str, Backend] = {each.name: each for each in (_CUSPARSELT, _CUTLASS)}
"""By name; the first that can is taken."""


def why_not(layer: Layer, precision: str, backend: Backend) -> str | None:
    """Why a layer cannot be run by a back end's kernels, in words; None if it can.

    Args:
        layer: A convolution or linear layer, whose weight is 2:4 along its inputs; the batch does not matter.
        precision: `f16`, `bf16`, `int8`, `f32`.
        backend: Whose kernels.
    """
    reason = _no_product(layer)
    if reason is not None:
        return reason
    multiples = backend.multiples.get(precision)
    if multiples is None:
        more = ": in float32 they take 1:2 and not 2:4" if precision == "f32" else ""
        return f"{backend.name} has no 2:4 kernels for {precision} ({', '.join(backend.multiples)}){more}"
    outputs, inputs = product_sizes(layer)
    for what, size, multiple in (("outputs", outputs, multiples.outputs), ("inputs", inputs, multiples.inputs)):
        if size % multiple:
            return f"{backend.name} needs {what} in multiples of {multiple} in {precision}, and there are {size}"
    return None


def _no_product(layer: Layer) -> str | None:
    """Why a layer is no single product with a 2:4 matrix."""
    if layer.kind not in ("conv", "linear"):
        return "it has no weight to multiply with"
    if layer.groups != 1:
        return f"a convolution in {layer.groups} groups is as many small products, not one"
    if math.prod(layer.kernel) > 1 and layer.inputs % _GROUP:
        return f"{layer.inputs} input channels are no multiple of {_GROUP}: groups would reach over kernel positions"
    return None


def product_sizes(layer: Layer) -> tuple[int, int]:
    """(outputs, inputs) of the matrix that a layer's weight is.

    >>> product_sizes(Layer("conv", 64, 128, kernel=(3, 3)))
    (128, 576)
    """
    return layer.outputs, layer.inputs * math.prod(layer.kernel)


def backends_for(layer: Layer, precision: str, gpu: Gpu) -> tuple[tuple[Backend, ...], str | None]:
    """The back ends that run a layer on a GPU, cuSPARSELt before CUTLASS; and why there is none, in one line."""
    reasons = {each: each.why_not_on(gpu) or why_not(layer, precision, each) for each in BACKENDS.values()}
    able = tuple(backend for backend, reason in reasons.items() if reason is None)
    if able:
        return able, None
    named = [r if r.startswith(each.name) else f"{each.name}: {r}" for each, r in reasons.items() if r is not None]
    return (), _no_product(layer) or "; ".join(named)
