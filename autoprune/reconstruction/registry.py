"""Kinds of candidates' weights by name; other packages add theirs by entry points `autoprune.candidate_weights`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.registry import Registry

if TYPE_CHECKING:  # names are listed without torch
    from autoprune.reconstruction.candidate_weights import CandidateWeights

__all__ = ["CANDIDATE_WEIGHTS"]

CANDIDATE_WEIGHTS: Registry[type[CandidateWeights]] = Registry(
    "candidate weights",
    {
        "reconstructed": "autoprune.reconstruction.candidate_weights:Reconstructed",
        "recalibrated": "autoprune.reconstruction.candidate_weights:Recalibrated",
        "elastic": "autoprune.reconstruction.candidate_weights:Elastic",
    },
    "autoprune.candidate_weights",
)
