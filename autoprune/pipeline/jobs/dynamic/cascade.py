"""Two networks one after the other: what a dynamic network has to beat that is no network of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.dynamic_networks.batches import labels_of
from autoprune.dynamic_networks.thresholds import Answers, Limits, leaving_at, solved
from autoprune.early_exit.confidence.base import Seen
from autoprune.early_exit.confidence.registry import ALONE, confidence_named
from autoprune.errors import InputError
from autoprune.models import output_of
from autoprune.models.inputs.reader import BatchReader

__all__ = ["cascade_answers", "cascade_of"]


def cascade_answers(small: nn.Module, dense: nn.Module, reader: BatchReader, batches: Iterable[Any]) -> Answers:
    """How sure the small network is of each input, and whether it and the dense one are right.

    Args:
        small: Asked first.
        dense: Asked where the small one is not sure.
        reader: Which parts of a batch are the inputs.
        batches: With labels; read once.

    Raises:
        InputError: If there are no samples.
    """
    sure: dict[str, list[Tensor]] = {kind: [] for kind in ALONE}
    right: list[Tensor] = []
    with torch.no_grad():
        for batch in batches:
            call = reader.call(dense, batch)
            first, last = (output_of(call.run(each.eval())) for each in (small, dense))
            labels = labels_of(last, batch)
            right.append(torch.stack([first.argmax(1) == labels, last.argmax(1) == labels]))
            for kind, parts in sure.items():
                parts.append(confidence_named(kind).of(Seen(first))[None])
    if not right:
        raise InputError("there are no samples to choose thresholds on; the loader is empty, or was used up")
    confidences = {kind: torch.cat(parts, 1).double().numpy() for kind, parts in sure.items()}
    return Answers(confidences, torch.cat(right, 1).numpy())


def cascade_of(search: Answers, test: Answers, share: float, loss: float) -> dict[str, Any]:
    """The fastest cascade that keeps a loss, with thresholds and bound as those of a dynamic network.

    Args:
        search: What the threshold is chosen on.
        test: What it is judged on.
        share: What the small network takes of the dense one's time.
        loss: Largest loss of accuracy that the bound may reach, a fraction.

    Returns:
        `mean_share` of the dense network's time on the search split, `share` of the test split's inputs that the small
        network answers, `accuracy`; `reason` where no threshold is faster than the dense network.
    """
    path = np.array([share, 1 + share])
    found = [solved(search, kind, (0,), path, Limits(loss, float(path.max()))) for kind in search.confidences]
    best = min((each for each in found if each is not None), key=lambda each: each.mean_ms, default=None)
    if best is None or best.mean_ms >= 1:
        return {"reason": "no threshold is faster than the dense network alone at this loss"}
    taken = leaving_at(test.sure(best.confidence, (0,)), best.thresholds)
    right = test.right[taken, np.arange(len(taken))]
    return {
        "mean_share": best.mean_ms,
        "share": float((taken == 0).mean()),
        "accuracy": float(right.mean()),
        "promised_drop": best.bound,
        "confidence": best.confidence,
        "threshold": best.thresholds[0],
    }
