"""From a 2:4 weight to a tensor for sparse tensor cores: the pattern is checked before, the outputs after.

torch packs whatever it is given, and loses what is not 2:4 without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.errors import AutopruneError, InputError, TargetError, first_line
from autoprune.hardware.sparse_kernels.rules import BACKENDS, Gpu
from autoprune.masks.compressed import TWO_OF_FOUR
from autoprune.masks.planes import PLAIN

__all__ = ["PRECISIONS", "Convert", "converted", "converted_by_first", "gpu_here", "torch_conversion"]

Convert = Callable[[Tensor, str], Tensor]
"""(a 2:4 matrix, the name of a back end) to a tensor that `linear` takes as weight."""

PRECISIONS = {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32", torch.int8: "int8"}
"""dtype -> what the rules call it."""

_ROWS = 64  # of the input on which a converted matrix is compared
_TOLERANCES = {torch.float16: 1e-2, torch.bfloat16: 4e-2}  # of the largest output; sums of 16-bit products differ


def gpu_here(index: int | None = None) -> Gpu:
    """The GPU that torch sees.

    Raises:
        TargetError: If it sees none.
    """
    if not torch.cuda.is_available():
        raise TargetError(
            "sparse tensor cores need an NVIDIA GPU of compute capability 8.0 or later, and torch sees none here;"
            " 2:4 weights can be made, saved and checked without one"
        )
    available = getattr(getattr(torch.backends, "cusparselt", None), "is_available", lambda: False)
    return Gpu(torch.cuda.get_device_capability(index), bool(available()))


def converted(matrix: Tensor, backend: str, convert: Convert | None = None) -> Tensor:
    """A matrix for sparse tensor cores.

    Args:
        matrix: 2:4 along its rows, (outputs, inputs), float16 or bfloat16, on the GPU; sizes as `rules` ask.
        backend: The name of one of `BACKENDS`.
        convert: Instead of torch's conversion.

    Returns:
        What `torch.nn.functional.linear` takes as weight.

    Raises:
        InputError: If the matrix is not 2:4, or of a dtype that has no kernels here.
        TargetError: If torch cannot convert it on this machine.
        AutopruneError: If what comes out multiplies to something else.
    """
    if matrix.ndim != 2 or matrix.dtype not in _TOLERANCES:
        known = ", ".join(PRECISIONS[dtype] for dtype in _TOLERANCES)
        name = PRECISIONS.get(matrix.dtype, str(matrix.dtype).removeprefix("torch."))
        raise InputError(f"there are no 2:4 kernels for {name} of shape {list(matrix.shape)}; use a matrix of {known}")
    fault = TWO_OF_FOUR.fault(PLAIN.of(matrix))
    if fault is not None:
        raise InputError(f"the weight is not 2:4, and converting it would lose values: {fault}")
    try:
        sparse = (convert or torch_conversion)(matrix.contiguous(), backend)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise TargetError(f"torch cannot convert to {backend} here: {first_line(error)[:200]}") from error
    _compare(matrix, sparse, backend)
    return sparse


def converted_by_first(matrix: Tensor, backends: Sequence[str], convert: Convert | None = None) -> tuple[Tensor, str]:
    """A matrix for sparse tensor cores by the first back end that can; and which that is.

    A build of torch may name a library that then does not answer: the next one is tried.

    Args:
        matrix: As `converted` takes it.
        backends: Names, best first; at least one.
        convert: Instead of torch's conversion.

    Raises:
        InputError: As `converted`.
        TargetError: If none can, with every reason.
    """
    reasons = []
    for backend in backends:
        try:
            return converted(matrix, backend, convert), backend
        except InputError:
            raise
        except AutopruneError as error:
            reasons.append(first_line(error))
    raise TargetError("; ".join(reasons))


def _compare(matrix: Tensor, sparse: Tensor, backend: str) -> None:
    """Multiply a few rows with both."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_ROWS, matrix.shape[1], generator=generator).to(matrix)
    with torch.no_grad():
        try:
            expected, found = functional.linear(rows, matrix), functional.linear(rows, sparse)
        except (RuntimeError, NotImplementedError) as error:
            raise TargetError(f"{backend} cannot multiply with this matrix here: {first_line(error)[:200]}") from error
    scale = float(expected.float().abs().max()) or 1.0
    difference = float((found.float() - expected.float()).abs().max()) / scale
    if not difference <= _TOLERANCES[matrix.dtype]:  # not a number fails too
        raise AutopruneError(
            f"{backend} multiplies to something else: outputs differ by {difference:.1e} of the largest; kept dense"
        )


def torch_conversion(matrix: Tensor, backend: str) -> Tensor:
    """`torch.sparse.to_sparse_semi_structured` with that back end."""
    from torch.sparse import to_sparse_semi_structured

    with _forced(backend), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is a prototype
        made: Tensor = to_sparse_semi_structured(matrix)
    return made


@contextmanager
def _forced(backend: str) -> Iterator[None]:
    """Torch takes cuSPARSELt unless this flag is set, and does not fall back by itself."""
    from torch.sparse import SparseSemiStructuredTensor as Sparse

    before = Sparse._FORCE_CUTLASS
    Sparse._FORCE_CUTLASS = backend == BACKENDS["cutlass"].name
    try:
        yield
    finally:
        Sparse._FORCE_CUTLASS = before
