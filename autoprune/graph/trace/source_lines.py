"""Exceptions and stack frames in one line."""

from __future__ import annotations

import itertools
import re
import traceback
from collections.abc import Iterable
from pathlib import PurePath

from torch.fx import Node

__all__ = ["exception_line", "raised", "user_line", "where"]

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in')


def user_line(frames: Iterable[tuple[str, str | int | None]]) -> str | None:
    """The innermost of (file, line) frames, outermost first, that is neither torch's nor ours: "net.py:41"."""
    files = [(PurePath(file), line) for file, line in frames]
    own = [(f.name, line) for f, line in files if "torch" not in f.parts and not _is_ours(f)]
    return f"{own[-1][0]}:{own[-1][1]}" if own else None


def _is_ours(file: PurePath) -> bool:
    return ("autoprune", "graph") in itertools.pairwise(file.parts)


def exception_line(error: BaseException) -> str:
    """An exception in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160] if text else 'no message'}"


def raised(error: BaseException) -> str:
    """An exception in one line, with the user's own line that raised it."""
    line = user_line((frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__))
    return f"{exception_line(error)}{f' at {line}' if line else ''}"


def where(node: Node) -> str:
    """The operator with the user's own source line, as in "aten.add.Tensor at net.py:41"."""
    line = user_line(_FRAME.findall(node.meta.get("stack_trace") or ""))
    return f"{node.target} at {line}" if line else str(node.target)
