"""A child process that is talked to in JSON lines: started, fed, listened to, and never waited for without end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from autoprune.errors import InputError, TargetError

__all__ = ["JsonLinesProcess", "temporary_files"]

_CHUNK = 1 << 16
_LONGEST = 1 << 26  # characters of one answer; more is nonsense, not memory to fill


@contextlib.contextmanager
def temporary_files() -> Iterator[None]:
    """Around writing temporary files.

    Raises:
        InputError: If they cannot be written; it names their folder.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write temporary files to {tempfile.gettempdir()}: {reason}; TMPDIR names another folder"
        ) from error


class JsonLinesProcess:
    """A process that takes requests and gives answers, a JSON object a line. A context manager: it ends with it.

    Answers may be preceded by signs of life, `{"alive": [done, all]}`. An answer `{"error": "..."}` is raised.

    Args:
        who: Whose process it is, for messages: "target 'board'".
        command: What is started.
        patience: Seconds without a line from it (or without a byte taken by it) after which it counts as hanging.
        environment: Its environment variables; this process's own when None.
        what: What it is, for the message that it ended.
    """

    def __init__(
        self,
        who: str,
        command: Sequence[str],
        *,
        patience: float,
        environment: Mapping[str, str] | None = None,
        what: str = "its process",
    ) -> None:
        self._who = who
        self._what = what
        self._command = list(command)
        self._patience = patience
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> JsonLinesProcess:
        with temporary_files():
            self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=self._environment,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C on a terminal goes to this process alone, which ends the child
            )
        except (OSError, ValueError) as error:
            self._errors.close()
            raise TargetError(f"{self._who}: {self._command[0]!r} cannot be started: {error}") from None
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        self._errors.close()

    def ask(self, request: Mapping[str, Any], wanted: str, progress: Callable[[int, int], None] | None = None) -> Any:
        """The value that `answer` gives under `wanted`."""
        return self.answer(request, wanted, progress)[wanted]

    def answer(
        self, request: Mapping[str, Any], wanted: str, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            request: A JSON object.
            wanted: A key that the answer has and that signs of life have not.
            progress: Called with (done, all) at every sign of life.

        Raises:
            TargetError: If the process ended, hung, or answered with an error or nonsense; one line that says which.
        """
        self._send(json.dumps(request, allow_nan=False) + "\n")
        while True:
            answer = self._next()
            if "error" in answer:
                raise TargetError(f"{self._who} failed: {' '.join(str(answer['error']).split())[:300]}")
            if wanted in answer:
                return answer
            if "alive" not in answer:
                raise TargetError(f"{self._who} answered nonsense: no {wanted!r} in {str(answer)[:100]}")
            done, total = self._done_and_all(answer["alive"])
            if progress is not None:
                progress(done, total)

    def _done_and_all(self, alive: object) -> tuple[int, int]:
        if not (isinstance(alive, list) and len(alive) == 2 and all(type(number) is int for number in alive)):
            raise TargetError(f"{self._who} answered nonsense: a sign of life {str(alive)[:100]}")
        return alive[0], alive[1]

    def _send(self, line: str) -> None:
        """Write a line; from a thread, since a process that hangs takes nothing once the pipe is full."""
        process = self._running()
        moved = [time.monotonic()]

        def write() -> None:
            with contextlib.suppress(OSError, ValueError):  # it ended: the reader of the answer reports why
                for start in range(0, len(line), _CHUNK):
                    process.stdin.write(line[start : start + _CHUNK])  # type: ignore[union-attr]  # it is a pipe
                    process.stdin.flush()  # type: ignore[union-attr]
                    moved[0] = time.monotonic()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        while writer.is_alive():
            writer.join(timeout=0.5)
            if time.monotonic() - moved[0] > self._patience:
                raise TargetError(f"{self._who}: it took nothing in for {self._patience:.0f} s; it was stopped")

    def _next(self) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=self._patience)
        except queue.Empty:
            raise TargetError(f"{self._who}: no sign of life for {self._patience:.0f} s; it was stopped") from None
        if line is None:
            raise self._ended()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TargetError(f"{self._who} answered nonsense: {line.strip()[:100]!r} is no JSON object")
        return answer

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Move answers into the queue, so that waiting for one can have an end."""
        if process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):  # the other end is gone
                while line := process.stdout.readline(_LONGEST):
                    self._answers.put(line)
        self._answers.put(None)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise TargetError(f"{self._who} is not running")
        return self._process

    def _ended(self) -> TargetError:
        """Why it ended, with the last thing that it said on standard error."""
        self._answers.put(None)  # a second request gets the same answer
        try:
            code = self._running().wait(timeout=self._patience)
        except subprocess.TimeoutExpired:
            return TargetError(f"{self._who}: {self._what} closed its output and did not end; it was stopped")
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        last = f": {lines[-1][:200]}" if lines else ""
        return TargetError(f"{self._who}: {self._what} ended ({_status(code)}){last}")


def _status(code: int) -> str:
    if code >= 0:
        return f"status {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it with all that it started; it holds nothing worth saving."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError, ValueError):
                pipe.close()
