"""The parent's side of a worker process: starts it, sends it work, never waits for ever."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from autoprune.errors import TargetError
from autoprune.hardware.base import LocalTarget, Progress
from autoprune.hardware.lines import LineProcess, room
from autoprune.hardware.protocol import Measurement, Protocol

__all__ = ["Worker"]

_START = "from autoprune.hardware.worker import main; main()"


class Worker:
    """A fresh process that times what it is sent. A context manager: the process ends with the context.

    Args:
        target: Which runtime; rebuilt inside the worker from its class and settings.
        patience: Seconds without a sign of life after which the worker counts as hanging and is killed; default the
            target's own.

    Attributes:
        pid: The process, once it runs.
    """

    def __init__(self, target: LocalTarget, patience: float | None = None) -> None:
        self._target = target
        self._patience = target.patience if patience is None else patience
        self._stack = ExitStack()

    def __enter__(self) -> Worker:
        with ExitStack() as stack, room():
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoprune-worker-")))
            self._process = stack.enter_context(self._program())
            request = {"path": self._target.path(), "settings": self._target.settings()}
            self.pid = int(self._process.ask(request, "ready"))
            self._stack = stack.pop_all()
        return self

    def _program(self) -> LineProcess:
        # The worker sees every module that this process sees, so that a user's own class can be imported.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        # What a runtime keeps for later (compiled kernels) goes with the worker's folder: every worker starts fresh.
        environment = {**os.environ, "TMPDIR": str(self._folder), **self._target.environment(), "PYTHONPATH": paths}
        return LineProcess(
            f"target {self._target.name!r}",
            [sys.executable, "-c", _START],
            patience=self._patience,
            environment=environment,
            what="the worker process",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Time packed networks, interleaved.

        Raises:
            TargetError: If the worker crashed, hung, or answered nonsense; one line that says which.
            InputError: If the folder for temporary files is full.
        """
        files = [self._folder / f"payload-{index}" for index in range(len(payloads))]
        with room():
            for file, payload in zip(files, payloads, strict=True):
                file.write_bytes(payload)
        request = {"files": [str(file) for file in files], "protocol": protocol.to_json()}
        results = self._process.ask(request, "result", progress)
        for file in files:
            file.unlink()
        if not isinstance(results, list) or len(results) != len(payloads):
            raise TargetError(f"target {self._target.name!r} answered nonsense: {str(results)[:100]}")
        return [Measurement.from_json(result) for result in results]
