"""Number formats of a GGUF file: which tensor is stored in which, and its bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError, MissingExtraError
from autoprune.foundations.names import nearest_name

__all__ = ["FORMATS", "Format", "Stored", "format_of", "gguf_package"]


@dataclass(frozen=True)
class Format:
    """How a file's matrices are stored; vectors (norms, biases) are f32 in all of them.

    Attributes:
        matrices: Type of the package `gguf` for matrices.
        embeddings: Type for the token embedding and the output layer, which llama.cpp's own quantiser keeps finer.
        file_type: The number that the file says of itself (`general.file_type`).
    """

    matrices: str
    embeddings: str
    file_type: int


FORMATS = {
    "f32": Format("F32", "F32", 0),
    "f16": Format("F16", "F16", 1),
    "q8_0": Format("Q8_0", "Q8_0", 7),
    "q4_0": Format("Q4_0", "Q8_0", 2),
    "q4_1": Format("Q4_1", "Q8_0", 3),
}
"""What `write_gguf` can write, by the name that llama.cpp gives it."""

_EMBEDDINGS = ("token_embd.weight", "output.weight")


def gguf_package() -> Any:
    """The package `gguf`.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise MissingExtraError("gguf", "llm") from error
    return gguf


def format_of(name: str) -> Format:
    """The format of a name, in any case of letters.

    Raises:
        InputError: If there is none of that name.
    """
    try:
        return FORMATS[name.lower()]
    except KeyError:
        known = ", ".join(FORMATS)
        raise InputError(
            f"GGUF is not written as {name!r}; one of {known} ({nearest_name(name.lower(), FORMATS)})"
        ) from None


@dataclass(frozen=True)
class Stored:
    """How one tensor lies in the file.

    Attributes:
        type: Type of the package `gguf`.
        shape: Its dense shape.
    """

    type: Any
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, shape: Sequence[int], wanted: Format) -> Stored:
        """How a tensor is stored; f16 where its rows are not whole blocks of a quantised type.

        Args:
            name: Its name in the file.
            shape: Its shape; a row is the last dimension.
            wanted: The file's format.
        """
        types = gguf_package().GGMLQuantizationType
        if len(shape) < 2:
            return cls(types.F32, tuple(shape))
        kind = types[wanted.embeddings if name in _EMBEDDINGS else wanted.matrices]
        block, _ = gguf_package().GGML_QUANT_SIZES[kind]
        return cls(kind if shape[-1] % block == 0 else types.F16, tuple(shape))

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        block, size = gguf_package().GGML_QUANT_SIZES[self.type]
        return math.prod(self.shape) // int(block) * int(size)

    def encode(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """The tensor's bytes, by the quantisers of the package `gguf`."""
        found: NDArray[Any] = gguf_package().quants.quantize(np.ascontiguousarray(values, np.float32), self.type)
        return found
