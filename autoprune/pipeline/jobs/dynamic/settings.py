"""The experiment's settings of `autoprune dynamic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.errors import InputError
from autoprune.pipeline.jobs.settings import DYNAMIC
from autoprune.run.experiment import BUDGETS

__all__ = ["dynamic_settings"]


def dynamic_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's settings of such a run, which has no budget of its own, and an agent only with `kinds`.

    Raises:
        InputError: If a budget or an agent is given that only a search understands.
    """
    own = {"latency": "100%"}
    if not settings.get("kinds"):
        if settings.get("agent", DYNAMIC) != DYNAMIC:
            raise InputError("dynamic has an agent only with --kinds channels,exit, which searches widths and exits")
        own["agent"] = DYNAMIC
    if any(settings.get(name) for name in BUDGETS) and not own.items() <= settings.items():  # a run that goes on
        raise InputError("dynamic has no such budget; give mean_latency, worst, p95 and max_drop")
    return {**settings, **own}
