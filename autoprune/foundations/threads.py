"""How many threads torch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["use_threads"]


@contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Train and score with so many threads; all of them if not given."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
