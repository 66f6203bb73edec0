"""What is told of a latency table: how much was measured, and how wrong its predictions are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.hardware.tables.latency_table import LatencyTable

__all__ = ["error_figures", "summary"]


def error_figures(table: LatencyTable) -> dict[str, Any]:
    """The errors as JSON values: shares, not percent; None where there is nothing to compare with."""
    errors = {"error": table.error, "error_of_macs_alone": table.macs_error}
    return {
        "target": table.fingerprint.get("target"),
        "entries": len(table.entries),
        "estimated": table.estimated,
        "fitted_on": len(table.runs_of("fit", "search")),
        **{
            name: None if e is None else {"mean": e.mean, "worst": e.worst, "networks": e.n}
            for name, e in errors.items()
        },
    }


def summary(table: LatencyTable) -> str:
    """One line for people."""
    measured = len(table.entries) - table.estimated
    line = f"{measured} layers measured, {table.estimated} estimated"
    error, macs = table.error, table.macs_error
    if error is not None:
        line += f"; error on {error.n} other networks {error.mean:.1%} (worst {error.worst:.1%})"
    if macs is not None:
        line += f"; by multiply-accumulates alone {macs.mean:.1%} (worst {macs.worst:.1%})"
    return line
