"""What the pipeline tells whoever watches it: sentences, progress and seconds, stage by stage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from autoprune.errors import AutopruneError

__all__ = ["Bar", "Silent", "Talk"]


class Bar(Protocol):
    """The progress of one stage; callable as `bar(done, total, what)`."""

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        """Report that `done` of `total` are done."""

    def begin(self, done: int) -> None:
        """Say what an earlier session finished: it does not count for the time left."""

    def update(self, done: int, **figures: Any) -> None:
        """Report progress with figures to show, such as the best accuracy."""


class Talk:
    """Base: remembers how long each stage took. Front ends override `say` and `open_bar`.

    Attributes:
        seconds: By stage.
        keep_seconds: Called with them after every stage; writes them down for a run that is resumed later.
        keep_stage: Called with a stage's name for people when it begins, with None when it ends, however it does.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.keep_seconds: Callable[[dict[str, float]], None] | None = None
        self.keep_stage: Callable[[str | None], None] | None = None

    def say(self, sentence: str) -> None:
        """One line for whoever watches."""

    def open_bar(self, what: str, total: int | None) -> AbstractContextManager[Bar]:
        """A progress bar."""
        return _null_bar()

    @contextmanager
    def stage(self, name: str, what: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
        """A stage of the job: its time counts under `name`; `done` of its `total` were finished in earlier sessions."""
        start = time.perf_counter()
        self._in_stage(what)
        try:
            with self.open_bar(what, total) as bar:
                if done:
                    bar.begin(done)
                yield bar
        finally:
            self._in_stage(None)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            if self.keep_seconds is not None:
                with contextlib.suppress(AutopruneError):  # the next file that cannot be written says so
                    self.keep_seconds(self.seconds)

    def _in_stage(self, what: str | None) -> None:
        if self.keep_stage is not None:
            self.keep_stage(what)


class Silent(Talk):
    """Says nothing."""


class _NullBar:
    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        pass

    def begin(self, done: int) -> None:
        pass

    def update(self, done: int, **figures: Any) -> None:
        pass


@contextmanager
def _null_bar() -> Iterator[Bar]:
    yield _NullBar()
