"""Blocks at the beginning and at the end of a model that stay whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.errors import InputError
from autoprune.graph import Group
from autoprune.llm.blocks.stack import DecoderStack

__all__ = ["Protected"]


@dataclass(frozen=True)
class Protected:
    """Blocks that stay whole; false where there are none.

    Attributes:
        first: At the beginning.
        last: At the end.
    """

    first: int = 0
    last: int = 0

    @classmethod
    def of(cls, text: str) -> Protected:
        """As users write it: `4,2`.

        >>> Protected.of("4,2")
        Protected(first=4, last=2)

        Raises:
            InputError: If the text is no such pair.
        """
        first, comma, last = (part.strip() for part in text.partition(","))
        if not (comma and first.isdecimal() and last.isdecimal()):
            raise InputError(f"--protect {text!r} is not two numbers of blocks; write such as 4,2")
        return cls(int(first), int(last))

    def __bool__(self) -> bool:
        return self.first + self.last > 0

    def blocks(self, stack: DecoderStack) -> list[int]:
        """Their numbers.

        Raises:
            InputError: If that is all of them.
        """
        total = len(stack)
        found = [place for place in range(total) if place < self.first or place >= total - self.last]
        if len(found) == total:
            raise InputError(f"--protect {self.first},{self.last} leaves none of {total} blocks to prune")
        return found

    def left(self, stack: DecoderStack, groups: Sequence[Group]) -> list[Group]:
        """The couplings that lie in no protected block."""
        names = tuple(f"{stack.block_name(place)}." for place in self.blocks(stack))
        return [group for group in groups if not any(m.tensor.startswith(names) for m in group.members)]
