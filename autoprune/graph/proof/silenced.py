"""A dense network with the readers of dropped units at 0, for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from autoprune.graph.analysis import Index

__all__ = ["silenced"]


@contextmanager
def silenced(tensors: Mapping[str, torch.Tensor], places: Sequence[tuple[str, int, Index]]) -> Iterator[None]:
    """These places of the tensors at 0, put back exactly afterwards.

    Args:
        tensors: Qualified name -> parameter or buffer; changed in place.
        places: (tensor, dimension, positions along it); a tensor may come more than once.
    """
    undo = []
    for name, dim, positions in places:
        tensor = tensors[name]
        at = torch.from_numpy(positions).to(tensor.device)
        undo.append((tensor, dim, at, _smallest(tensor.index_select(dim, at))))
        tensor.index_fill_(dim, at, 0)
    try:
        yield
    finally:
        while undo:  # backwards: places may overlap
            tensor, dim, at, content = undo.pop()
            tensor.index_copy_(dim, at, content.to(tensor.dtype))


def _smallest(content: torch.Tensor) -> torch.Tensor:
    """The same numbers in half the memory where they fit: random weights, and those of a model in single precision."""
    if content.dtype != torch.float64:
        return content
    single = content.float()
    return single if torch.equal(single.double(), content) else content
