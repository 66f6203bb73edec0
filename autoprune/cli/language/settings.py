"""The options that the commands on runs of language models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from autoprune.run.recovery import SETTINGS
from autoprune.run.settings.stored import StoredSettings

__all__ = ["chosen_settings", "panels_of"]

Stored = TypeVar("Stored", bound=StoredSettings)

_SHARED = {
    "Texts": ("calibration", "windows", "window_length", "text", "context", "stride", "tokens"),
    "Recovery": (
        "recover",
        "recover_steps",
        "recover_batch",
        "recover_lr",
        "distillation",
        "recover_every",
        "patience",
        "checkpointing",
    ),
    "Run": ("seed", "run"),
}


def panels_of(own: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Setting -> heading, in the order of the help: a command's own panels first."""
    return {name: panel for panel, names in {**own, **_SHARED}.items() for name in names}


def chosen_settings(of: type[Stored], settings: dict[str, Any], resume: bool) -> Stored:
    """What was asked for; on a run that goes on, its own settings where nothing else is said."""
    run = settings.get("run")
    if resume and run is not None:
        stored = (Path(run) if "/" in run else Path("runs") / run) / SETTINGS
        if stored.is_file():
            return of.read(stored, settings)
    return of.build(settings)
