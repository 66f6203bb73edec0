"""Is there room for what the job writes?"""

from __future__ import annotations

import shutil
import tempfile

from autoprune.errors import InputError
from autoprune.pipeline.preflight.base import Check, Subject

__all__ = ["SpaceOnDisk", "bytes_written"]

_COPIES = 4  # of the weights that a finished run keeps: dense, pruned, fine-tuned, and the training's checkpoint
_SMALL = 64 * 2**20  # bytes: a job that writes less is told by the first write that fails, and goes on from there
_BESIDE = 16 * 2**20  # bytes of everything else: tables, logs, the report


def bytes_written(subject: Subject) -> int:
    """About how much a run keeps; each finalist's weights and its momentum beside the network's own."""
    tensors = (*subject.task.model.parameters(), *subject.task.model.buffers())
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    finalists = subject.experiment.finalists * 2 if subject.trains else 0
    return weights * (_COPIES + finalists) + _BESIDE


class SpaceOnDisk(Check):
    """The run's folder has room for the weights that are kept, the folder for temporary files for those in transit."""

    what = "space on disk"

    def run(self, subject: Subject) -> None:
        """Compare what is free with what is needed."""
        needed = bytes_written(subject)
        for folder, much in ((subject.folder, needed), (tempfile.gettempdir(), needed // 8)):
            free = shutil.disk_usage(folder).free
            if free < much and needed > _SMALL:
                raise InputError(
                    f"{folder} has {free / 2**20:,.0f} MiB free, and this job writes {much / 2**20:,.0f} MiB"
                )
