"""The one boundary around what a user hands over: model, data, loss, score, callbacks, target.

Whatever their code raises or exits with, and whatever it returns in a wrong form, is an error of theirs: it names
their object (`package.module:name`), what was being done, and the last line of their own code. The traceback is its
`__cause__`. What passes the boundary unchanged is an interruption, and an error that was made for the user already.
"""

from __future__ import annotations

import functools
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autoprune.errors import AutopruneError, InputError, first_line

__all__ = ["UserBatches", "UserCode", "as_given", "described", "during", "is_foreign", "path_of", "wrong_form"]

_PACKAGE = __name__.partition(".")[0]
_LONGEST = 300  # characters of an exception's own words
_PLACE = re.compile(r'File "(?P<file>.+?)", line (?P<line>\d+)')

_END = object()  # behind the last batch

_stage: ContextVar[str] = ContextVar("stage", default="")


@contextmanager
def during(stage: str) -> Iterator[None]:
    """Around a stage of a job: errors of the user's code in it say so.

    Args:
        stage: What is done, for people: "fine-tuning, seed 0".
    """
    token = _stage.set(stage)
    try:
        yield
    finally:
        _stage.reset(token)


class UserCode:
    """A context manager around one call of a user's code, and nothing of ours.

    Args:
        what: Their object for messages, with its place (`path_of`): "the loss userland:ranked".
        failure: What their errors become; `TargetError` of a target.

    Raises:
        InputError: Or `failure`, from whatever was raised. Ctrl-C passes, as does an `InputError`, `TargetError` or
            `Interrupted`, which says already what is wrong.

    >>> with UserCode("the loss userland:ranked"):
    ...     1 / 0
    Traceback (most recent call last):
    autoprune.errors.InputError: the loss userland:ranked raised ZeroDivisionError: division by zero
    """

    def __init__(self, what: str, failure: type[AutopruneError] = InputError) -> None:
        self._what, self._failure = what, failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit):
            return
        if isinstance(error, AutopruneError) and error.exit_code not in (AutopruneError.exit_code, 3):
            return
        raise self._failure(f"{self._what} raised {described(error)}{_while()}") from error


def wrong_form(what: str, returned: object, ought: str, failure: type[AutopruneError] = InputError) -> AutopruneError:
    """The error of a user's function that returned what cannot be used.

    Args:
        what: Their object, as in `UserCode`.
        returned: What it gave.
        ought: What it must return.
        failure: As in `UserCode`.

    >>> str(wrong_form("evaluate userland:psnr", None, "a finite number"))
    'evaluate userland:psnr returned None; it must return a finite number'
    """
    return failure(f"{what} returned {_shown(returned)}{_while()}; it must return {ought}")


def path_of(thing: object) -> str:
    """Where a user's object lies, `package.module:name`; of an instance its class's, of a text the text.

    >>> path_of(path_of), path_of("userland:net"), path_of(functools.partial(path_of))
    ('autoprune.foundations.user_code:path_of', 'userland:net', 'autoprune.foundations.user_code:path_of')
    """
    if isinstance(thing, str):
        return thing
    while isinstance(thing, functools.partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") and hasattr(thing, "__module__") else type(thing)
    return f"{named.__module__}:{named.__qualname__}"


def is_foreign(thing: object) -> bool:
    """Whether an object, or a class, is none of this package's."""
    return path_of(thing).partition(":")[0].partition(".")[0] != _PACKAGE


def described(error: BaseException) -> str:
    """An exception of the user's code in one line: its type, the first line of its text, and where their code raised.

    What a DataLoader's worker process raised is a text in the exception of this process; it is read there.
    """
    kind, text, places = type(error).__name__, first_line(error), _places(error)
    if "Original Traceback" in str(error):
        *_, last = _PLACE.finditer(str(error))
        after = str(error)[last.end() :].splitlines()[1:]
        kind, _, text = next((line for line in after if not line.startswith(" ")), kind).partition(": ")
        places = [(found["file"], int(found["line"])) for found in _PLACE.finditer(str(error))]
    kind = kind.rpartition(".")[2]
    words = kind if text in ("", kind) else f"{kind}: {text[:_LONGEST]}"
    own = [(file, line) for file, line in places if _is_own(file)]
    return f"{words} ({_short(own[-1][0])}:{own[-1][1]})" if own else words


class UserBatches:
    """A user's loader, read behind the boundary; everything else of it is the loader's.

    Args:
        batches: The loader.
        what: It for messages: "the train split of userland:loaders".
    """

    def __init__(self, batches: Iterable[Any], what: str) -> None:
        self.batches, self._what = batches, what
        self._ahead: tuple[Any, Iterator[Any]] | None = None

    def first(self) -> tuple[Any, bool]:
        """The first batch, and whether there is none. The next iteration gives it again: a stream loses nothing."""
        with UserCode(self.what):
            remaining = iter(self.batches)
            batch = next(remaining, _END)
        if batch is _END:
            return None, True
        if not self.can_be_read_again:
            self._ahead = batch, remaining
        return batch, False

    @property
    def can_be_read_again(self) -> bool:
        """Whether a new iteration is sure to be one: a loader without a length may read from a stream."""
        try:
            return len(self) >= 0
        except TypeError:
            return False

    @property
    def is_ahead(self) -> bool:
        """Whether a batch was taken that only this reader can give back."""
        return self._ahead is not None

    def __iter__(self) -> Iterator[Any]:
        boundary = UserCode(self.what)
        (batch, remaining), self._ahead = self._ahead or (_END, None), None
        if batch is not _END:
            yield batch
        with boundary:
            remaining = iter(self.batches) if remaining is None else remaining
        while True:
            with boundary:
                try:
                    batch = next(remaining)
                except StopIteration:
                    return
            yield batch

    def __len__(self) -> int:
        with _passing(TypeError), UserCode(self.what):  # a loader without a length says so by that
            return len(self.batches)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in (
            "batches",
            "_ahead",
            "_what",
        ):  # a copy that is being made has no loader yet
            raise AttributeError(name)
        found = getattr(self.batches, name)
        return self._guarded(found) if name == "set_epoch" else found

    @property
    def what(self) -> str:
        """The loader for messages, with the class of the data set that it reads."""
        held = getattr(self.batches, "dataset", None)
        named = "" if held is None or type(held).__module__.startswith("torch.") else f" (its data set {path_of(held)})"
        return f"{self._what}{named}"

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any) -> Any:
            with UserCode(self.what):
                return method(*args)

        return guarded


def as_given(batches: Iterable[Any]) -> Iterable[Any]:
    """The loader as the user handed it over: for their own functions, which may ask which one it is."""
    return batches.batches if isinstance(batches, UserBatches) and not batches.is_ahead else batches


@contextmanager
def _passing(kind: type[Exception]) -> Iterator[None]:
    """Lets one kind of exception of the user's code out as it was raised."""
    try:
        yield
    except InputError as error:
        if isinstance(error.__cause__, kind):
            raise error.__cause__ from None
        raise


def _while() -> str:
    stage = _stage.get()
    return f", while {stage}" if stage else ""


def _shown(value: object) -> str:
    """A value for a message: numbers and None as they are, of all else the type."""
    if value is None or isinstance(value, int | float | complex | str):
        return f"{value!r:.60}"
    shape = getattr(value, "shape", None)
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__name__}{size}{'' if shape is None else f' of shape {tuple(shape)}'}"


def _places(error: BaseException) -> list[tuple[str, int]]:
    """Files and lines that the exception came through, the outermost first."""
    if isinstance(error, SyntaxError) and error.filename:
        return [(error.filename, error.lineno or 1)]
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]


def _is_own(file: str) -> bool:
    """Whether a file is the user's: none of Python's, of an installed package's, of ours."""
    return not file.startswith("<") and not any(Path(file).is_relative_to(folder) for folder in _foreign_folders())


@functools.cache
def _foreign_folders() -> tuple[Path, ...]:
    package = Path(sys.modules[_PACKAGE].__file__ or "").parent
    ours = [package, *(child.resolve() for child in package.iterdir() if child.is_symlink())]
    libraries = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return tuple({*ours, *(folder.resolve() for folder in ours), *(Path(folder) for folder in libraries)})


def _short(file: str) -> str:
    """A file for a message: below the current folder by its relative path."""
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file
