"""Digests of what is in memory: weights, images, settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["content_digest"]

_LENGTH = 32  # hexadecimal digits, 128 bits


def content_digest(value: Any) -> str:
    """SHA-256 of the content of nested tensors, mappings and sequences; of anything else, of its text.

    >>> content_digest([torch.zeros(2), "a"]) == content_digest((torch.zeros(2), "a"))
    True
    """
    digest = hashlib.sha256()
    for part in _bytes_of(value):
        digest.update(part)
    return digest.hexdigest()[:_LENGTH]


def _bytes_of(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        yield f"{value.dtype}{list(value.shape)}".encode()
        plain = value.detach().cpu()
        plain = plain if plain.layout is torch.strided and not plain.is_quantized else plain.to_dense().dequantize()
        yield plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield repr(key).encode()
            yield from _bytes_of(each)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for each in value:
            yield from _bytes_of(each)
    else:
        yield repr(value).encode()
