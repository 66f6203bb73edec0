"""The contract of a store: it keeps the facts of a study in one order that all processes agree on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Fact", "Store"]


@dataclass(frozen=True)
class Fact:
    """Something that happened in a study, and will not change.

    Attributes:
        number: Its place in the study's log: later facts have larger ones, with gaps.
        at: When it was written, in seconds since the epoch by the store's clock.
        kind: What kind of fact, such as `result`.
        content: Plain JSON values.
    """

    number: int
    at: float
    kind: str
    content: Mapping[str, Any]


class Store(ABC):
    """The log of one study, which any number of processes append to and read; a context manager.

    Every process reads the same facts in the same order, and a fact that is read stays. So whatever has to be agreed
    on (who scores which candidate) follows from the log alone. A store holds plain JSON, nothing that is executed.

    Another kind of store is a subclass in a file of its own, and a line in `autoprune.storage.registry`.

    Attributes:
        for_many: Whether processes of several machines may share it.
    """

    for_many: bool = True

    @abstractmethod
    def append(self, facts: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write facts (kind, content); they are safe when this returns, all or none of them.

        May be called from several threads.

        Raises:
            StoreError: If the store cannot be reached or written to; the facts may be written again then.
        """

    @abstractmethod
    def read(self, after: int = -1) -> list[Fact]:
        """The facts whose number is larger, in order.

        Raises:
            StoreError: If the store cannot be reached or read.
        """

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch by the clock that facts are dated by, as known since the last `read`."""

    def close(self) -> None:  # noqa: B027  # most hold nothing open
        """Give back what is held open; the store may be used again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
