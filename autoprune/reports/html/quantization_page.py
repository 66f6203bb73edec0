"""The page of a run of `autoprune quantize`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import RunError
from autoprune.foundations.files import read_json, write_text
from autoprune.reports.format import flat, plain
from autoprune.reports.html.rendering import render, table
from autoprune.reports.quantization import (
    LAYER_COLUMNS,
    NETWORK_COLUMNS,
    TYPE_COLUMNS,
    layer_cells,
    network_cells,
    quantization_lines,
    type_cells,
)

__all__ = ["write_quantization_page"]

_ABOUT = ("model", "from_run", "data", "target", "types", "ranges", "calibration_images", "search", "device", "seed")


def write_quantization_page(run: str | Path) -> Path:
    """Write `report.html` into a run of `quantize`: one page without scripts that loads nothing from elsewhere.

    Raises:
        RunError: If the run's report is damaged; what it lacks is named.
        InputError: If the page cannot be written.
    """
    run = Path(run)
    content = read_json(run / "report.json", "report")
    try:
        page = _page(run.resolve().name, content)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise RunError(f"{run / 'report.json'} is no report of quantize: {error!r}") from error
    out = run / "report.html"
    write_text(out, page)
    return out


def _page(name: str, content: Mapping[str, Any]) -> str:
    about = {key: content[key] for key in _ABOUT}
    return render(
        "quantization.html",
        title=f"autoprune quantize: {name}",
        lines=quantization_lines(content),
        networks=table(NETWORK_COLUMNS, network_cells(content)),
        layers=table(LAYER_COLUMNS, layer_cells(content), words=2),
        types=table(TYPE_COLUMNS, type_cells(content)),
        settings=table(("name", "value"), [(key, plain(value)) for key, value in flat(about)], words=2),
    )
