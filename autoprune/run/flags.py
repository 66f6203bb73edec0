"""How a command treats the folder of its run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Flags"]


@dataclass(frozen=True)
class Flags:
    """How a run's folder is treated.

    Attributes:
        resume: Go on with a run that exists.
        overwrite: Replace a run that exists.
        onnx: Also write model.onnx into the run.
        dry_run: Stop after the preflight and print the plan; nothing is written.
        worker: Score candidates for the run of another process, with no run of its own.
    """

    resume: bool
    overwrite: bool
    onnx: bool = False
    dry_run: bool = False
    worker: bool = False
