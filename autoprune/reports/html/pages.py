"""The page of a run, whatever made it: each kind of report has a writer of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import RunError
from autoprune.foundations.files import read_json, write_text
from autoprune.reports.codesign import CODESIGN_SCHEMA
from autoprune.reports.dynamic import DYNAMIC_SCHEMA
from autoprune.reports.html.codesign_page import codesign_page
from autoprune.reports.html.dynamic_page import dynamic_page
from autoprune.reports.html.quantization_page import quantization_page
from autoprune.reports.html.run_page import write_run_page
from autoprune.reports.quantization import QUANTIZE_SCHEMA

__all__ = ["write_html"]

Page = Callable[[str, Mapping[str, Any]], str]

_PAGES: Mapping[object, tuple[str, Page]] = {
    CODESIGN_SCHEMA: ("codesign", codesign_page),
    DYNAMIC_SCHEMA: ("dynamic", dynamic_page),
    QUANTIZE_SCHEMA: ("quantize", quantization_page),
}
"""By the report's schema, the command that wrote it and its page; all others are those of a pruned network."""


def write_html(run: str | Path) -> Path:
    """Write `report.html` into a run's folder: one page without scripts that loads nothing from elsewhere.

    Returns:
        The page's file.

    Raises:
        RunError: If there is no such run, it has no report yet, or the report lacks something, which is named.
        InputError: If one of its files is damaged, or the page cannot be written.
    """
    run = Path(run)
    file = run / "report.json"
    content = read_json(file, "report") if file.exists() else {}
    if (schema := content.get("schema")) not in _PAGES:
        return write_run_page(run)
    command, page_of = _PAGES[schema]
    try:
        page = page_of(run.resolve().name, content)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise RunError(f"{file} is no report of {command}: {error!r}") from error
    out = run / "report.html"
    write_text(out, page)
    return out
