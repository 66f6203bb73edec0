"""The experiment's settings of `autoprune quantize`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import InputError, RunError
from autoprune.pipeline.jobs.settings import QUANTIZE
from autoprune.run.directory import is_run, read_settings
from autoprune.run.experiment import BUDGETS

__all__ = ["named_subject", "quantize_settings"]

_OF_RUN = ("model", "data", "data_dir", "inputs", "evaluate", "score", "direction", "score_format", "batch_size")


def named_subject(subject: str) -> dict[str, Any]:
    """Settings that say what is quantized: of a run its folder and what it was made from, else the model's name."""
    folder = Path(subject)
    if is_run(folder):
        return {"from_run": str(folder), **_of_run(folder)}
    if folder.is_dir() or "/" in subject:
        raise RunError(f"there is no run at {subject}")
    return {"model": subject}


def _of_run(folder: Path) -> dict[str, Any]:
    stored, _ = read_settings(folder)
    if not (folder / "report.json").exists():
        if (folder / "policy.json").exists():
            raise RunError(f"{folder} was searched and not fine-tuned; go on with `autoprune finetune {folder}`")
        raise RunError(f"{folder} has no report.json; the run is not finished, go on with --resume")
    own = {name: getattr(stored, name) for name in _OF_RUN if name in stored.model_fields_set}
    return {"model": stored.model, "data": stored.data, **own}


def quantize_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's settings of such a run, which has neither agent nor budget of its own.

    Raises:
        InputError: If a budget is given, or weights for a run that has its own.
    """
    own = {"latency": "100%", "agent": QUANTIZE}
    if any(settings.get(name) for name in BUDGETS) and not own.items() <= settings.items():  # a run that goes on
        raise InputError("quantize has no budget; --tolerance says what accuracy may be lost")
    if settings.get("from_run") and settings.get("weights"):
        raise InputError(f"{settings['from_run']} has weights of its own; leave the weights out")
    return {**settings, **own}
