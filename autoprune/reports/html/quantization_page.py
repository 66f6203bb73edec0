"""The page of a run of `autoprune quantize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

__all__ = ["quantization_page"]

_ABOUT = ("model", "from_run", "data", "target", "types", "ranges", "calibration_images", "search", "device", "seed")


def quantization_page(name: str, content: Mapping[str, Any]) -> str:
    """The page of a run of `quantize`, by its name and what `report.json` holds."""
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
