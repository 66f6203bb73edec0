"""The parent's side of a worker process: starts it, sends it work, never waits for ever."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from autoprune.errors import TargetError
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.contract.target import Progress
from autoprune.hardware.timing.json_lines import JsonLinesProcess, temporary_files

__all__ = ["Worker", "WorkerSpec"]

_START = "from autoprune.hardware.targets.worker import main; main()"
_REFERENCE = "reference"  # a file in the worker's folder


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker is started with.

    Attributes:
        name: The target's, for messages.
        path: The target's class, `package.module:Class`.
        settings: Keyword arguments that rebuild the target in the worker, as JSON values.
        environment: Environment variables beside those of this process.
        patience: Seconds without a sign of life after which the worker counts as hanging and is killed.
    """

    name: str
    path: str
    settings: Mapping[str, object]
    environment: Mapping[str, str]
    patience: float


class Worker:
    """A fresh process that times what it is sent. A context manager: the process ends with the context.

    Args:
        spec: Which runtime, and how it is rebuilt inside the worker.
        reference: The payload of the kernel that every block stands between; None for none.

    Attributes:
        pid: The process, once it runs.
    """

    def __init__(self, spec: WorkerSpec, reference: bytes | None = None) -> None:
        self._spec, self._reference = spec, reference
        self._stack = ExitStack()

    def __enter__(self) -> Worker:
        with ExitStack() as stack, temporary_files():
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoprune-worker-")))
            self._process = stack.enter_context(self._program())
            if self._reference is not None:
                (self._folder / _REFERENCE).write_bytes(self._reference)
            request = {"path": self._spec.path, "settings": dict(self._spec.settings)}
            self.pid = int(self._process.ask(request, "ready"))
            self._stack = stack.pop_all()
        return self

    def _program(self) -> JsonLinesProcess:
        # The worker sees every module that this process sees, so that a user's own class can be imported.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        # What a runtime keeps for later (compiled kernels) goes with the worker's folder: every worker starts fresh.
        environment = {**os.environ, "TMPDIR": str(self._folder), **self._spec.environment, "PYTHONPATH": paths}
        return JsonLinesProcess(
            f"target {self._spec.name!r}",
            [sys.executable, "-c", _START],
            patience=self._spec.patience,
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
        with temporary_files():
            for file, payload in zip(files, payloads, strict=True):
                file.write_bytes(payload)
        request = {
            "files": [str(file) for file in files],
            "protocol": protocol.to_json(),
            "reference": None if self._reference is None else str(self._folder / _REFERENCE),
        }
        results = self._process.ask(request, "result", progress)
        for file in files:
            file.unlink()
        if not isinstance(results, list) or len(results) != len(payloads):
            raise TargetError(f"target {self._spec.name!r} answered nonsense: {str(results)[:100]}")
        return [Measurement.from_json(result) for result in results]
