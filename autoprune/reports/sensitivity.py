"""What a sensitivity analysis found: a table for the terminal, and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.reports.figures._matplotlib import save
from autoprune.reports.figures.sensitivity import sensitivity_figure
from autoprune.reports.format import NONE
from autoprune.run.score import ScoreSpec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["sensitivity_lines", "sensitivity_picture", "sensitivity_table"]


def sensitivity_table(content: Mapping[str, Any]) -> Table:
    """A row for every decision: the score at each point, what one unit less saves, its importance.

    Args:
        content: What `sensitivity.json` holds.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    spec, unit = spec_of(content), content["cost"]["unit"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("decision", overflow="fold")
    table.add_column("units", justify="right")
    table.add_column(f"{spec.name} by units kept", overflow="fold")
    table.add_column(f"saves, {unit}/unit", justify="right")
    table.add_column("importance", justify="right")
    for row in content["decisions"]:
        points = "   ".join(f"{point['kept']}: {spec.text(point['score'])}" for point in row["points"])
        step = row["step"]
        saved = NONE if step["kept"] is None else f"{step['saved_per_unit']:.3g}"
        table.add_row(Text(row["name"]), str(row["width"]), Text(points), saved, _importance(row))
    return table


def sensitivity_lines(content: Mapping[str, Any]) -> list[str]:
    """The sentences under the table."""
    spec, cost, weights = spec_of(content), content["cost"], content["weights"]
    parts = ", ".join(f"{name} {value:g}" for name, value in weights.items())
    return [
        f"dense: {spec.text(content['dense'])} on the search split, {cost['dense']:.6g} {cost['unit']} of"
        f" {cost['kind']} on {content['target']}",
        f"importance: alpha * loss + beta / {cost['kind']} saved + gamma / energy saved, of one unit less, each"
        f" relative to its mean ({parts}); {NONE} where a unit less saves nothing",
    ]


def sensitivity_picture(content: Mapping[str, Any], out: str | Path) -> None:
    """Draw score against the share that is kept, and what a unit saves.

    Args:
        content: What `sensitivity.json` holds.
        out: A file that ends in `.png` or `.svg`.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        InputError: If `out` cannot be written.
    """
    save(sensitivity_figure(content, spec_of(content)), out)


def spec_of(content: Mapping[str, Any]) -> ScoreSpec:
    """What networks were judged by."""
    return ScoreSpec(content["score"]["name"], content["score"]["direction"], content["score"]["format"])


def _importance(row: Mapping[str, Any]) -> str:
    return NONE if row["importance"] is None else f"{row['importance']:.2f}"
