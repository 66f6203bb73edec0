"""Seeds: of torch's global generators for a stretch of code, without a trace, and of the loaders that a user gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["reseed", "seeded", "stream"]


def stream(seed: int, number: int) -> int:
    """A seed of its own for the `number`-th stretch (an epoch, a trial) of a run with this seed.

    An odd factor keeps (seed, number) pairs apart that a sum would mix up, such as (0, 1) and (1, 0).
    """
    return (seed * 1_000_003 + number) % 2**63


def reseed(batches: Any, number: int) -> None:
    """Let a loader's next iteration depend on a number alone, not on how often it was read before.

    Batches with `set_epoch`, as `autoprune.data`'s, are given the number; a DataLoader's or its sampler's own generator
    is seeded with it. A loader without one draws from torch's, which whoever reads it seeds.
    """
    if hasattr(batches, "set_epoch"):
        batches.set_epoch(number)
    for owner in (batches, getattr(batches, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(number)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global generators, and puts them back as they were.

    For what cannot be given a generator: the first weights of layers, dropout, a user's own loaders.

    Args:
        seed: Any non-negative integer below 2**63.
    """
    # CUDA is left asleep where it has not been used: waking it costs a second and device memory.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield
