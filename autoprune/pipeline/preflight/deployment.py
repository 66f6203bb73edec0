"""Does the target time the network, and can it be exported?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from autoprune.export.formats import export_onnx
from autoprune.hardware import Protocol, measure
from autoprune.pipeline.preflight.base import Check, Subject
from autoprune.pipeline.preflight.reading import randomness_kept

__all__ = ["Export", "Timing"]


class Timing(Check):
    """The target takes the network and answers with a latency."""

    what = "the target"

    def concerns(self, subject: Subject) -> bool:
        """Not a target that takes ten seconds and more to make a network ready: its own first session says it."""
        return not subject.target.compiles_long

    def run(self, subject: Subject) -> None:
        """Export the network and time a few calls; the figure counts for nothing."""
        with randomness_kept():
            measure([subject.model], subject.task.timed_example, subject.target, Protocol.entries())


class Export(Check):
    """The network can be written in every format that was asked for, and computes the same there."""

    what = "the export"

    def concerns(self, subject: Subject) -> bool:
        """Only where one was asked for."""
        return bool(subject.forms)

    def run(self, subject: Subject) -> None:
        """Write the dense network to a temporary folder."""
        with tempfile.TemporaryDirectory() as folder, randomness_kept():
            export_onnx(subject.model.eval(), subject.task.example, Path(folder) / "model.onnx")
