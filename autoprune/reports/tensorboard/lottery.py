"""A study of lottery tickets in TensorBoard. Every scalar written here is defined in docs/tensorboard.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.reports.lottery import arms_in
from autoprune.reports.tensorboard.log import EventLog
from autoprune.run.report import Report

__all__ = ["write_rounds"]


_SCALE = 10_000  # steps of TensorBoard's axis are whole numbers: a density of 1 is 10,000


def write_rounds(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a study as TensorBoard scalars: over rounds, over densities (a run an arm), and barriers over steps.

    Args:
        folder: The event files' folder; made if it is missing. What was written before is discarded.
        content: What `report.json` holds.

    Raises:
        InputError: If the folder cannot be written to.
    """
    spec, asked = Report.of(content).score_spec, content["lottery"]
    with EventLog(folder, 0) as log:
        for one in content["rounds"]:
            scalars = {"lottery/density": one["density"]}
            for arm in arms_in(content):
                scalars[f"lottery/{spec.key}/{arm}"] = one[arm][f"{spec.key}_mean"]
                scalars[f"lottery/early_stop_step/{arm}"] = one[arm]["early_stop_step"]
            log.scalars(scalars, one["round"])
        for one in asked.get("densities", ()):
            log.scalars(_of_hardware(one), one["round"])
        for one in asked.get("stability", ()):
            log.scalars({"lottery/barrier": one["barrier_mean"]}, one["step"])
    for arm in arms_in(content):
        with EventLog(folder / "density" / arm, 0) as log:
            for one in sorted(content["rounds"], key=lambda one: float(one["density"])):
                scalars = {
                    f"density/{spec.key}": one[arm][f"{spec.key}_mean"],
                    "density/early_stop_step": one[arm]["early_stop_step"],
                }
                log.scalars(scalars, round(_SCALE * one["density"]))


def _of_hardware(one: Mapping[str, Any]) -> dict[str, float]:
    """Shares of units alive, and milliseconds of what was timed."""
    found = {f"lottery/units_alive/{name}": alive / width for name, (alive, width) in one["units_alive"].items()}
    found |= {f"lottery/latency_ms/{name}": ms for name, ms in one.get("latency_ms", {}).items()}
    return found | ({"lottery/latency_ms/csr": one["csr"]["csr_ms"]} if "csr" in one else {})
