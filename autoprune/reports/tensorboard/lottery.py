"""A study of lottery tickets in TensorBoard. Every scalar written here is defined in docs/tensorboard.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.reports.lottery import arms_in
from autoprune.reports.tensorboard.log import EventLog
from autoprune.run.report import Report

__all__ = ["write_rounds"]


def write_rounds(folder: Path, content: Mapping[str, Any]) -> None:
    """Write every round as TensorBoard scalars; the axis is the round, 0 the dense network.

    Args:
        folder: The event files' folder; made if it is missing. What was written before is discarded.
        content: What `report.json` holds.

    Raises:
        InputError: If the folder cannot be written to.
    """
    spec = Report.of(content).score_spec
    with EventLog(folder, 0) as log:
        for one in content["rounds"]:
            scalars = {"lottery/density": one["density"]}
            for arm in arms_in(content):
                scalars[f"lottery/{spec.key}/{arm}"] = one[arm][f"{spec.key}_mean"]
                scalars[f"lottery/early_stop_step/{arm}"] = one[arm]["early_stop_step"]
            log.scalars(scalars, one["round"])
