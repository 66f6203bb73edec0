"""Are the weights numbers?"""

from __future__ import annotations

import torch

from autoprune.errors import InputError
from autoprune.models.lazy import require_shapes
from autoprune.pipeline.preflight.base import Check, Subject

__all__ = ["FiniteWeights"]


class FiniteWeights(Check):
    """No parameter is NaN or infinite, no buffer NaN: an infinite one may be a mask."""

    what = "the weights"

    def run(self, subject: Subject) -> None:
        """Name the first tensor that is not finite."""
        task = subject.task
        require_shapes(task.model)
        for name, tensor in task.model.named_parameters():
            if not bool(torch.isfinite(tensor).all()):
                kind = "NaN" if bool(torch.isnan(tensor).any()) else "infinite"
                raise InputError(f"{task.name}: {name} has {kind} values; the training had diverged")
        for name, buffer in task.model.named_buffers():
            if buffer.is_floating_point() and bool(torch.isnan(buffer).any()):
                raise InputError(f"{task.name}: {name} has NaN values; the training had diverged")
