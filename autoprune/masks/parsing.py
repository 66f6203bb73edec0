"""Patterns as users write them: `2:4`, `2:4/1:2`, `4x4:0.5`, `bank:4:0.75`, `unstructured:0.9`, ..."""

from __future__ import annotations

import re

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.masks.base import Graded, Pattern
from autoprune.masks.blocks import Blocks
from autoprune.masks.both_ways import NofMBothWays
from autoprune.masks.groups.banks import BankBalanced
from autoprune.masks.groups.columns import ColumnBalanced
from autoprune.masks.groups.hierarchy import HierarchicalNofM
from autoprune.masks.groups.whole import WholeUnits
from autoprune.masks.n_of_m import NofM
from autoprune.masks.unstructured import Unstructured

__all__ = ["BLOCK_ZEROS", "FAMILIES", "PATTERNS", "family_of", "pattern_of"]

PATTERNS = (
    "2:4 (or any N:M), 2:4-both, 2:4/1:2 (hierarchical), 4x4 or 4x4:0.8 (blocks), vector:4:0.5, bank:4:0.75,"
    " column:8:0.75, kernel:0.5, filter:0.5, unstructured:0.9, unstructured:0.9-global"
)
"""What can be written, for people."""

FAMILIES = "unstructured, N:4, 2:4/N:4, 4x4, vector:4, bank:4, column:8, kernel, filter"
"""Patterns whose amount is open, for people."""

BLOCK_ZEROS = 0.5
"""Share of the blocks that goes where only the block's size is written."""

_N_OF_M = re.compile(r"(\d{1,6}):(\d{1,6})(-both)?")
_BLOCKS = re.compile(r"(\d{1,6})x(\d{1,6})(?::([\d.]+)(%?))?")
_HIERARCHY = re.compile(r"(\d{1,6}):(\d{1,6})/(\d{1,6}):(\d{1,6})")
_COUNTED = re.compile(r"(bank|column|vector):(\d{1,6}):([\d.]+)(%?)")
_WHOLE = re.compile(r"(kernel|filter):([\d.]+)(%?)")
_OPEN = re.compile(r"(^|/)n:")
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
        return Blocks(_share(found[3], found[4]) if found[3] else BLOCK_ZEROS, int(found[1]), int(found[2]))
    if found := _UNSTRUCTURED.fullmatch(word):
        return Unstructured(_share(found[1], found[2]), across=bool(found[3]))
    if found := _HIERARCHY.fullmatch(word):
        return HierarchicalNofM(NofM(int(found[1]), int(found[2])), NofM(int(found[3]), int(found[4])))
    if found := _COUNTED.fullmatch(word):
        return _of_count(found[1], int(found[2]), _share(found[3], found[4]))
    if found := _WHOLE.fullmatch(word):
        return WholeUnits(_share(found[2], found[3]), "kernel" if found[1] == "kernel" else "filter")
    raise InputError(f"unknown pattern {shortened(repr(text))}; write {PATTERNS}")


def family_of(text: str) -> Graded:
    """A pattern of a family, whatever its amount: `bank:4` stands for `bank:4:0.5` and all others of four banks.

    >>> family_of("bank:4").keeping(3, (1, 8, 16)).name, family_of("N:8").family
    ('bank:4:0.25', 'N:8')

    Raises:
        InputError: If the text names no family.
    """
    word = text.strip().lower()
    try:
        found = pattern_of(_OPEN.sub(r"\g<1>1:", word) if _OPEN.search(word) else f"{word}:0.5")
    except InputError:
        found = None
    if isinstance(found, Graded):
        return found
    raise InputError(f"unknown family of patterns {shortened(repr(text))}; write such as {FAMILIES}")


def _of_count(name: str, count: int, zeros: float) -> Pattern:
    """Balanced patterns by their banks or elements, and vectors along the outputs, which are blocks of one column."""
    if name == "vector":
        return Blocks(zeros, count, 1)
    return BankBalanced(zeros, count) if name == "bank" else ColumnBalanced(zeros, count)


def _share(number: str, percent: str) -> float:
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise InputError(f"{shortened(repr(number))} is no share of zeros; write such as 0.9 or 90%") from None
