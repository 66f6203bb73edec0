"""The page of a run, whatever made it: each kind of report has a writer of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from autoprune.foundations.files import read_json
from autoprune.reports.codesign import CODESIGN_SCHEMA
from autoprune.reports.dynamic import DYNAMIC_SCHEMA
from autoprune.reports.html.codesign_page import write_codesign_page
from autoprune.reports.html.dynamic_page import write_dynamic_page
from autoprune.reports.html.quantization_page import write_quantization_page
from autoprune.reports.html.run_page import write_run_page
from autoprune.reports.quantization import QUANTIZE_SCHEMA

__all__ = ["write_html"]

_WRITERS: Mapping[object, Callable[[str | Path], Path]] = {
    CODESIGN_SCHEMA: write_codesign_page,
    DYNAMIC_SCHEMA: write_dynamic_page,
    QUANTIZE_SCHEMA: write_quantization_page,
}
"""By the report's schema; all others are those of a pruned network."""


def write_html(run: str | Path) -> Path:
    """Write `report.html` into a run's folder: one page without scripts that loads nothing from elsewhere.

    Returns:
        The page's file.

    Raises:
        RunError: If there is no such run, or it has no report yet.
        InputError: If one of its files is damaged, or the page cannot be written.
    """
    file = Path(run) / "report.json"
    schema = read_json(file, "report").get("schema") if file.exists() else None
    return _WRITERS.get(schema, write_run_page)(run)
