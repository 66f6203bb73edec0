"""Reports a process that was killed: a shell that outlives it by a moment.

A segmentation fault, the kernel's out-of-memory killer or `kill -9` end a process without a chance to say anything. The
shell reads what the process is at from a pipe; when the pipe ends and something was under way, it says so. It has a
session of its own and ignores signals, so that Ctrl-C does not reach it. It starts with the first stage of a command.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

__all__ = ["at", "dismiss", "guarding"]

_SHELL = """
trap '' INT TERM HUP
last=
while IFS= read -r line; do last=$line; done
if [ -n "$last" ]; then printf '%s\\n' "$last" >&2; fi
"""

_process: subprocess.Popen[bytes] | None = None
_stages: list[str] = []  # what would be said, the innermost stage last


@contextlib.contextmanager
def guarding() -> Iterator[None]:
    """Around a command: at its end, however it comes about, there is nothing to tell."""
    try:
        yield
    finally:
        _leave()


@contextlib.contextmanager
def at(sentence: str) -> Iterator[None]:
    """Around a stage: the sentence is written to standard error if the process is killed in it."""
    _stages.append(sentence)
    _write(sentence)
    try:
        yield
    finally:
        _stages.pop()
        _write(_stages[-1] if _stages else "")


def dismiss() -> None:
    """The process is about to end of its own will, in the middle of a stage perhaps: nothing is reported."""
    _stages.clear()
    if _process is not None:
        _write("")


def _write(sentence: str) -> None:
    process = _started()
    if process is None or process.stdin is None:
        return
    with contextlib.suppress(OSError):  # the shell itself may have been killed
        process.stdin.write(" ".join(sentence.split()).encode(errors="replace") + b"\n")


def _started() -> subprocess.Popen[bytes] | None:
    """The shell, started where there is none yet; None where there is no shell."""
    global _process
    if _process is None:
        with contextlib.suppress(OSError):
            _process = subprocess.Popen(
                ["sh", "-c", _SHELL],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
    return _process


def _leave() -> None:
    """End the shell and wait for it, so that no zombie stays."""
    global _process
    if _process is None:
        return
    dismiss()
    process, _process = _process, None
    with contextlib.suppress(OSError):
        process.communicate()
