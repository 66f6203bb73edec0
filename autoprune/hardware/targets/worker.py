"""The process in which things are timed: nothing else runs in it. Talks JSON lines over its pipes; no torch.

Request: {"files": [path, ...], "protocol": {...}, "reference": path or null}; one payload a file. Answers, a line each:
{"alive": [done, all]} while it works, then {"result": [measurement, ...]} or {"error": "..."}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from autoprune.foundations.user_code import described

__all__ = ["main"]


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    _die_with_parent()
    # What a runtime prints must not mix with the answers: file descriptor 1 becomes standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when an interrupted measurement ends
    try:
        _serve(answers)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a runtime raises reaches the parent as one line
        _send(answers, {"error": described(error)})


def _serve(answers: IO[str]) -> None:
    from autoprune.hardware.contract.protocol import Protocol
    from autoprune.hardware.contract.target import load_class
    from autoprune.hardware.targets.local import LocalTarget
    from autoprune.hardware.timing.loop import Reference, time_calls

    hello = json.loads(sys.stdin.readline())
    kind = load_class(hello["path"])
    target = kind(**hello["settings"])
    if not isinstance(target, LocalTarget):
        raise TypeError(f"{hello['path']} is not a LocalTarget")
    target.prepare()
    energy, source = target.sensors().counter("energy_j")
    _send(answers, {"ready": os.getpid()})
    reference: Reference | None = None
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        protocol = Protocol(**request["protocol"])
        if reference is None and protocol.reference and request["reference"] is not None:
            reference = Reference(target.load(Path(request["reference"]).read_bytes()))
        calls, took = [], []
        for index, name in enumerate(request["files"]):
            start = time.perf_counter()
            calls.append(target.load(Path(name).read_bytes()))
            took.append(round(time.perf_counter() - start, 3))
            _send(answers, {"alive": [0, len(request["files"])], "loaded": index + 1})
        results = time_calls(calls, target.clock(), protocol, _Pulse(answers), energy, reference)
        memory = target.peak_memory_mb()
        del calls
        known = [
            replace(result.conditions, load_s=seconds, peak_memory_mb=memory, energy_source=source)
            for result, seconds in zip(results, took, strict=True)
        ]
        content = [replace(m, conditions=each).to_json() for m, each in zip(results, known, strict=True)]
        _send(answers, {"result": content})


class _Pulse:
    """Reports progress to the parent, a few times a second at most."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last > 0.2:
            self._last = now
            _send(self._answers, {"alive": [done, total]})


def _send(answers: IO[str], message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent is gone, and this process ends with its input
        answers.write(json.dumps(message) + "\n")
        answers.flush()


def _die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies; elsewhere the closed pipe does it, a little later."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    main()
