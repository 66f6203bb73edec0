"""Reading pickles of plain values and byte arrays without running anything that they ask for.

A pickle is a program: it names callables, and the reader calls them. This reader knows three names only, those with
which numpy writes an array, and puts stand-ins in their place: no code of numpy's runs either. Every other name is
refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError

__all__ = ["read_pickle"]


class _ForbiddenError(pickle.UnpicklingError):
    """The pickle names something that would run code."""


class _DType:
    """Stands for numpy.dtype; unsigned bytes are the only type known."""

    __slots__ = ()

    def __init__(self, name: object, *_: object) -> None:
        if name not in (b"u1", "u1", b"|u1", "|u1"):
            raise pickle.UnpicklingError(f"an array is of type {name!r:.40}, not of bytes")

    def __setstate__(self, state: object) -> None:
        """Takes byte order and alignment, which bytes have none of."""


class _Array:
    """Stands for numpy.ndarray, and for the function that makes an empty one."""

    __slots__ = ("values",)

    def __init__(self, *_: object) -> None:
        self.values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        """Takes (version, shape, type, column by column, bytes)."""
        match state:
            case (int(_), tuple(shape), _DType(), by_columns, bytes(raw)) if _is_shape(shape, len(raw)):
                order = "F" if by_columns else "C"
                self.values = np.frombuffer(raw, np.uint8).reshape(shape, order=order).copy()  # type: ignore[call-overload]
            case _:
                raise pickle.UnpicklingError("an array's content is not as numpy writes it")


def _is_shape(shape: tuple[Any, ...], size: int) -> bool:
    return all(type(n) is int and n >= 0 for n in shape) and len(shape) <= 32 and math.prod(shape) == size


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # since numpy 2
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name."""
        if (module, name) not in _KNOWN:
            raise _ForbiddenError(f"{module}.{name}")
        return _KNOWN[module, name]


def read_pickle(content: bytes, where: str) -> Any:
    """The value in a pickle that Python 2 or 3 wrote, byte arrays among it; text of Python 2 comes as bytes.

    Args:
        content: The pickle.
        where: Its place, for the messages.

    Returns:
        Plain values; arrays of unsigned bytes where they stand in the outermost mapping.

    Raises:
        InputError: If it is damaged, or would run code.
    """
    try:
        value = _Reader(io.BytesIO(content), encoding="bytes").load()
    except _ForbiddenError as error:
        raise InputError(
            f"{where} names {error}, and reading it could run code; it is not the published file"
        ) from error
    except Exception as error:  # a damaged pickle makes the reader raise whatever its bytes ask for
        raise InputError(f"{where} is damaged: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(value, dict):
        return value
    return {key: entry.values if isinstance(entry, _Array) else entry for key, entry in value.items()}
