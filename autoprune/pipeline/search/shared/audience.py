"""Who hears of a search's finished episodes: by default nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from autoprune.run.records import EpisodeRecord

__all__ = ["Audience"]


class Audience:
    """Hears of the episodes of a search, in their order; a context manager. On its own it keeps nothing."""

    def begin(self, rows: Sequence[EpisodeRecord]) -> None:
        """The search begins, or goes on behind these episodes."""

    def finished(self, record: EpisodeRecord) -> None:
        """An episode is on disk."""

    def ended(self) -> None:
        """All episodes are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more will come from this process."""
