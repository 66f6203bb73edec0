"""The experiment's settings of `autoprune codesign`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.errors import InputError
from autoprune.run.experiment import BUDGETS
from autoprune.space import KEPT

__all__ = ["codesign_settings"]

DROP = 1.0
"""Percentage points that may be lost where the user does not say."""

DECIDED = ("techniques", "kinds", "granularity", "candidate_weights", "target")
"""Settings that the job decides itself."""


def codesign_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's settings of such a run: its device is simulated, its budget is the accuracy that may be lost.

    Raises:
        InputError: If a budget is given that only a search on a device understands.
    """
    stray = next((name for name in BUDGETS if name != "accuracy_drop" and settings.get(name) is not None), None)
    if stray is not None:
        raise InputError(f"codesign has no budget {stray}; give area, at_most (of the objective) and accuracy_drop")
    drop = settings.get("accuracy_drop")
    own = {
        "accuracy_drop": DROP if drop is None else drop,
        "techniques": KEPT.technique,
        "kinds": (KEPT.name,),
        "granularity": 1,
        "candidate_weights": "recalibrated",
        "target": "torch",
    }
    return {**settings, **own}
