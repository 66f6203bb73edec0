"""How much of a latency table was measured, and how wrong its predictions are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoprune.cost.least_squares import Errors

__all__ = ["PredictionErrors"]


@dataclass(frozen=True)
class PredictionErrors:
    """What is reported of a latency table.

    Attributes:
        target: The target's name; None where the fingerprint has none.
        entries: Layers with an entry.
        estimated: Those that were estimated and never measured.
        fitted_on: Networks that the correction was fitted on.
        table: Error of the table's predictions on held-out networks; None without such networks.
        macs: The same for multiply-accumulates alone.
        by_macs: Whether the layers predict no better than these, so that networks are priced by these.
    """

    target: str | None
    entries: int
    estimated: int
    fitted_on: int
    table: Errors | None
    macs: Errors | None
    by_macs: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON values: shares, not percent; None where there is nothing to compare with."""
        return {
            "target": self.target,
            "entries": self.entries,
            "estimated": self.estimated,
            "fitted_on": self.fitted_on,
            "error": _shares(self.table),
            "error_of_macs_alone": _shares(self.macs),
            "predicted_by": "multiply-accumulates" if self.by_macs else "layers",
        }

    def summary(self) -> str:
        """One line for people."""
        line = f"{self.entries - self.estimated} layers measured, {self.estimated} estimated"
        if self.table is not None:
            error = self.table
            line += (
                f"; error on {error.n} networks timed at another time {error.mean:.1%} (95 % confidence {error.low:.1%}"
                f" to {error.high:.1%}, worst {error.worst:.1%})"
            )
        if self.macs is not None:
            line += f"; by multiply-accumulates alone {self.macs.mean:.1%} (worst {self.macs.worst:.1%})"
        if self.by_macs:
            line += "; the layers predict no better, so policies are priced by multiply-accumulates"
        return line


def _shares(errors: Errors | None) -> dict[str, Any] | None:
    if errors is None:
        return None
    return {"mean": errors.mean, "low": errors.low, "high": errors.high, "worst": errors.worst, "networks": errors.n}
