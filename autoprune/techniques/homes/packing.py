"""Candidates and their scores as plain JSON values, for stores that processes of several machines read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.run.score import Estimate
from autoprune.techniques.homes.base import Scored, ScoreJob

__all__ = ["job_from_json", "job_to_json", "key_of", "scored_from_json", "scored_to_json"]


def job_to_json(job: ScoreJob) -> dict[str, Any]:
    """A candidate."""
    return {"choices": dict(job.key), "against": _packed(job.against)}


def job_from_json(row: Mapping[str, Any]) -> ScoreJob:
    """The candidate again."""
    return ScoreJob({str(name): int(kept) for name, kept in row["choices"].items()}, _unpacked(row["against"]))


def key_of(job: ScoreJob) -> str:
    """A candidate's name: equal for equal candidates with equal rivals, in every process."""
    content = json.dumps(job_to_json(job), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:24]


def scored_to_json(found: Scored) -> dict[str, Any]:
    """A score; numbers survive the way bit for bit."""
    return {
        "value": found.estimate.value,
        "share": found.estimate.share,
        "answers": _packed(found.answers),
        "seconds": round(found.seconds, 4),
    }


def scored_from_json(row: Mapping[str, Any]) -> Scored:
    """The score again."""
    estimate = Estimate(float(row["value"]), float(row["share"]))
    return Scored(estimate, _unpacked(row["answers"]), float(row["seconds"]))


def _packed(flags: Tensor | None) -> dict[str, Any] | None:
    """Bool (n,) as n, and its bits in base 64."""
    if flags is None:
        return None
    bits = np.packbits(flags.cpu().numpy()).tobytes()
    return {"count": len(flags), "bits": base64.b64encode(bits).decode()}


def _unpacked(packed: Mapping[str, Any] | None) -> Tensor | None:
    if packed is None:
        return None
    bits = np.frombuffer(base64.b64decode(packed["bits"]), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=packed["count"]).astype(np.bool_))
