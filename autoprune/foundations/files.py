"""Files that are written whole or not at all, and read with an error that says what is wrong."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoprune.errors import InputError

__all__ = [
    "beside",
    "parse_json",
    "read_json",
    "read_yaml",
    "replacing",
    "require_plain",
    "require_writable",
    "shortened",
    "write_json",
    "write_text",
]

_DEEPEST = 64  # lists and objects inside each other; our own files have five
_MOST = 100_000  # values of a YAML file; a few aliases of aliases stand for thousands of millions


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed onto `path` when the block ends without an error.

    What was at `path` stays until the new file is complete and on disk.

    Raises:
        InputError: If the folder cannot be written to or the disk is full.
    """
    try:
        with beside(Path(path)) as temporary:
            yield temporary
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """As `replacing`, for callers with their own words for an OSError."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def require_writable(folder: str | Path) -> None:
    """Refuse a folder, before minutes of work, that cannot be written to; one that is not there yet is not made.

    Raises:
        InputError: If it, or the folder that it would be made in, cannot be written to.
    """
    there = next(each for each in (Path(folder).absolute(), *Path(folder).absolute().parents) if each.exists())
    if not os.access(there, os.W_OK):
        raise InputError(f"cannot write to {folder}")


def write_text(path: str | Path, text: str) -> None:
    """Replace the file at `path` by `text`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Replace the file at `path` by `content` as JSON, atomically. NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: Where it lies.
        what: What it should be, for the error message ("policy", "latency table").

    Raises:
        InputError: If the file is missing, unreadable, not JSON as `parse_json` takes it, or not an object.
    """
    try:
        content = parse_json(_content(path, what))
    except ValueError as error:
        raise InputError(f"{path} is not a {what}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a {what}: it should hold a JSON object")
    return content


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text that can be computed with, and written again.

    Raises:
        ValueError: If it is not JSON, is nested deeper than 64 levels, or holds a number that is not finite or beyond
            64 bits, or half a character.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested without end") from None
    require_plain(value)
    return value


def read_yaml(path: str | Path, what: str) -> Any:
    """The value in a YAML file of plain values.

    Args:
        path: Where it lies.
        what: What it should be, for the error message ("experiment file").

    Raises:
        InputError: If the file is missing, unreadable or not YAML, or holds what JSON could not (but for dates).
    """
    import yaml

    try:
        text = _content(path, what)
        _refuse_merge_keys(text)
        value = yaml.load(text, Loader=_loader())
        require_plain(value, _MOST)
    except InputError:
        raise
    except Exception as error:  # the parser raises whatever a damaged tag makes of its text: IndexError, AttributeError
        raise InputError(f"{path} is not YAML: {shortened(' '.join(str(error).split()), 300)}") from error
    return value


@functools.cache
def _loader() -> type[Any]:
    """A loader of plain values to which `2:4` is text; YAML 1.1 makes the number 124 of it, in base 60."""
    import yaml

    class Plain(yaml.SafeLoader):
        def resolve(self, kind: type[Any], value: Any, implicit: Any) -> Any:
            tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # so in its stubs
            is_number = tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
            return self.DEFAULT_SCALAR_TAG if is_number and implicit[0] and ":" in value else tag

    return Plain


def _refuse_merge_keys(text: str) -> None:
    """Refuse `<<`, whose mappings the parser would copy into each other, a few bytes into thousands of millions.

    Raises:
        ValueError: If there is one.
    """
    import yaml

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.ScalarEvent) and (
            event.tag == "tag:yaml.org,2002:merge" or (event.value == "<<" and event.implicit[0])
        ):
            line = "" if event.start_mark is None else f" in line {event.start_mark.line + 1}"
            raise ValueError(f"a merge key (<<){line}; write the settings out instead")


def _content(path: str | Path, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"there is no {what} at {path}") from None
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a {what}: it is not text ({error.reason} at byte {error.start})") from error


def require_plain(value: Any, most: int | None = None) -> None:
    """Refuse what cannot be computed with or written again.

    Raises:
        ValueError: If `value` is nested too deeply, has more than `most` values inside, or one of them is no plain one.
    """
    level, seen = [value], 0
    for _ in range(_DEEPEST):
        inside: list[Any] = []
        for each in level:
            seen += 1
            if most is not None and seen + len(inside) > most:
                raise ValueError(f"more than {most} values")
            _require_plain_one(each)
            if isinstance(each, dict):
                inside += [*each.keys(), *each.values()]
            elif isinstance(each, list):
                inside += each
        level = inside
        if not level:
            return
    raise ValueError(f"nested deeper than {_DEEPEST} levels")


def _require_plain_one(value: Any) -> None:
    if isinstance(value, str):
        value.encode()  # half a character (a lone surrogate) is a ValueError
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number beyond 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")


def shortened(text: str, most: int = 80) -> str:
    """A text for an error message: in one line, its end left out where it is long.

    >>> shortened("a long name\\nof two lines", 14)
    'a long name...'
    """
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
