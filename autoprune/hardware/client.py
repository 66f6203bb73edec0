"""The parent's side of a worker process: starts it, sends it work, never waits for ever."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from autoprune.errors import TargetError
from autoprune.hardware.base import LocalTarget, Progress
from autoprune.hardware.protocol import Measurement, Protocol

__all__ = ["Worker"]

_START = "from autoprune.hardware.worker import main; main()"


class Worker:
    """A fresh process that times what it is sent. A context manager: the process ends with the context.

    Args:
        target: Which runtime; rebuilt inside the worker from its class and settings.
        patience: Seconds without a sign of life after which the worker counts as hanging and is killed; default the
            target's own.
    """

    def __init__(self, target: LocalTarget, patience: float | None = None) -> None:
        self._target = target
        self._patience = target.patience if patience is None else patience
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> Worker:
        self._folder = tempfile.TemporaryDirectory(prefix="autoprune-worker-")
        self._errors = (Path(self._folder.name) / "stderr").open("w+", encoding="utf-8", errors="replace")
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        # The worker sees every module that this process sees, so that a user's own class can be imported.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        # What a runtime keeps for later (compiled kernels) goes with the worker's folder: every worker starts fresh.
        environment = {**os.environ, "TMPDIR": self._folder.name, **self._target.environment(), "PYTHONPATH": paths}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C on a terminal goes to this process alone, which ends the worker
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        self._send({"path": self._target.path(), "settings": self._target.settings()})
        self._receive("ready")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it holds nothing worth saving
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError, ValueError):  # the other end is gone
                        pipe.close()
        self._errors.close()
        self._folder.cleanup()

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Time packed networks, interleaved.

        Raises:
            TargetError: If the worker crashed, hung, or answered nonsense; one line that says which.
        """
        files = []
        for index, payload in enumerate(payloads):
            files.append(Path(self._folder.name) / f"payload-{index}")
            files[-1].write_bytes(payload)
        self._send({"files": [str(file) for file in files], "protocol": protocol.to_json()})
        results = self._receive("result", progress)
        for file in files:
            file.unlink()
        if not isinstance(results, list) or len(results) != len(payloads):
            raise TargetError(f"target {self._target.name!r} answered nonsense: {str(results)[:100]}")
        return [Measurement.from_json(result) for result in results]

    def _send(self, message: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            raise TargetError(f"target {self._target.name!r}: the worker is not running")
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            raise self._crashed() from None

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Move answers into the queue, so that waiting for one can have an end."""
        if process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):  # the other end is gone
                for line in process.stdout:
                    self._answers.put(line)
        self._answers.put(None)

    def _receive(self, wanted: str, progress: Progress | None = None) -> Any:
        while True:
            try:
                line = self._answers.get(timeout=self._patience)
            except queue.Empty:
                raise TargetError(
                    f"target {self._target.name!r}: no sign of life from the worker for {self._patience:.0f} s; "
                    "it was stopped"
                ) from None
            if line is None:
                raise self._crashed()
            try:
                answer = json.loads(line)
            except ValueError:
                raise TargetError(f"target {self._target.name!r} answered nonsense: {line[:100]!r}") from None
            if "error" in answer:
                raise TargetError(f"target {self._target.name!r} failed: {answer['error']}")
            if wanted in answer:
                return answer[wanted]
            if progress is not None and "alive" in answer:
                progress(*answer["alive"])

    def _crashed(self) -> TargetError:
        code = self._process.wait(timeout=self._patience) if self._process is not None else None
        self._errors.flush()
        lines = Path(self._errors.name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f": {lines[-1][:200]}" if lines else ""
        return TargetError(f"target {self._target.name!r}: the worker process ended (status {code}){last}")
