"""Masks as bits: an eighth of a byte for a weight, compressed where that helps."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import InputError

__all__ = ["packed", "packed_bits", "unpacked", "unpacked_bits"]


def packed_bits(mask: Tensor) -> bytes:
    """A mask's bits in the order of its elements, eight to a byte, first in the highest."""
    return np.packbits(mask.detach().cpu().numpy().astype(bool).ravel()).tobytes()


def unpacked_bits(content: bytes, shape: Sequence[int]) -> Tensor:
    """The inverse of `packed_bits`.

    Raises:
        InputError: If these are not the bytes of a mask of this shape.
    """
    count = math.prod(shape)
    if len(content) != -(-count // 8):
        raise InputError(f"a mask of shape {list(shape)} has {-(-count // 8)} bytes of bits, not {len(content)}")
    bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=count)
    return torch.from_numpy(bits.astype(bool)).reshape(tuple(shape))


def packed(mask: Tensor) -> str:
    """A mask as text for a JSON file: its bits, deflated, in base64."""
    return base64.b64encode(zlib.compress(packed_bits(mask), 9)).decode("ascii")


def unpacked(text: str, shape: Sequence[int]) -> Tensor:
    """The inverse of `packed`.

    Raises:
        InputError: If the text holds no mask of this shape.
    """
    most = -(-math.prod(shape) // 8)
    try:
        reader = zlib.decompressobj()
        content = reader.decompress(base64.b64decode(text, validate=True), most + 1)  # a small text may inflate to much
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InputError(f"the packed mask of a weight of shape {list(shape)} is damaged") from error
    return unpacked_bits(content, shape)
