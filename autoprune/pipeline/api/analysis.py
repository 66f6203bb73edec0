"""Analyses from Python, which change no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from torch import nn

from autoprune.cost.importance import ImportanceWeights
from autoprune.pipeline.calls import Call, JobKeywords
from autoprune.pipeline.from_python import opened_job
from autoprune.pipeline.jobs.sensitivity import POINTS, SensitivitySettings, check_sensitivity, sensitivity_job
from autoprune.pipeline.jobs.settings import analysis_settings

__all__ = ["sensitivity"]


def sensitivity(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    points: int = POINTS,
    importance: ImportanceWeights | tuple[float, float, float] = (1.0, 1.0, 0.0),
    **keywords: Unpack[JobKeywords],
) -> dict[str, Any]:
    """What the score loses, and what the device saves, if each decision alone is cut.

    What is handed over and raised is as in `compress`; of the budget only the kind counts: it says what is priced.

    Args:
        model: The trained network, or a name.
        run: Folder that keeps the run; without it only the cache keeps the scores.
        points: Options of each decision that are scored.
        importance: alpha, beta and gamma of `autoprune.cost.importance.hardware_importance`.
        **keywords: As of `compress`.

    Returns:
        What `sensitivity.json` holds (docs/sensitivity.md).
    """
    chosen = importance if isinstance(importance, ImportanceWeights) else ImportanceWeights(*importance)
    wanted = SensitivitySettings(points, chosen)
    call = Call.of(model, keywords)
    settings = analysis_settings(call.settings)
    with opened_job(call.handed, settings, run, call.flags, check_sensitivity, call.shown) as (opened, task):
        return sensitivity_job(task, opened, call.watched(opened.experiment), wanted)
