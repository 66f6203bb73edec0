"""Patterns as users write them: `2:4`, `2:4-both`, `4x4:0.5`, `unstructured:0.9`, `unstructured:0.9-global`."""

from __future__ import annotations

import re

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.masks.base import Pattern
from autoprune.masks.blocks import Blocks
from autoprune.masks.both_ways import NofMBothWays
from autoprune.masks.n_of_m import NofM
from autoprune.masks.unstructured import Unstructured

__all__ = ["BLOCK_ZEROS", "PATTERNS", "pattern_of"]

PATTERNS = "2:4 (or any N:M), 2:4-both, 4x4 or 4x4:0.8 (blocks), unstructured:0.9, unstructured:0.9-global"
"""What can be written, for people."""

BLOCK_ZEROS = 0.5
"""Share of the blocks that goes where only the block's size is written."""

_N_OF_M = re.compile(r"(\d{1,6}):(\d{1,6})(-both)?")
_BLOCKS = re.compile(r"(\d{1,6})x(\d{1,6})(?::([\d.]+)(%?))?")
_UNSTRUCTURED = re.compile(r"unstructured:([\d.]+)(%?)(-global)?")


def pattern_of(text: str) -> Pattern:
    """The pattern that a text names.

    >>> pattern_of("2:4"), pattern_of("1x4:75%").name
    (NofM(n=2, m=4), '1x4:0.75')

    Raises:
        InputError: If it names none, or one that cannot be.
    """
    word = text.strip().lower()
    if found := _N_OF_M.fullmatch(word):
        n, m = int(found[1]), int(found[2])
        return NofMBothWays(n, m) if found[3] else NofM(n, m)
    if found := _BLOCKS.fullmatch(word):
        return Blocks(int(found[1]), int(found[2]), _share(found[3], found[4]) if found[3] else BLOCK_ZEROS)
    if found := _UNSTRUCTURED.fullmatch(word):
        return Unstructured(_share(found[1], found[2]), across=bool(found[3]))
    raise InputError(f"unknown pattern {shortened(repr(text))}; write {PATTERNS}")


def _share(number: str, percent: str) -> float:
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise InputError(f"{shortened(repr(number))} is no share of zeros; write such as 0.9 or 90%") from None
