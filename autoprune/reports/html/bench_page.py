"""The page of `autoprune bench`, and the files that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.errors import MissingExtraError
from autoprune.foundations.files import write_json, write_text
from autoprune.reports.bench import (
    Cells,
    bench_lines,
    network_columns,
    network_rows,
    target_columns,
    target_rows,
    timed,
)
from autoprune.reports.figures._matplotlib import require_matplotlib, save
from autoprune.reports.figures.bench import bench_figure, smaller_of
from autoprune.reports.format import TIMES, flat, plain
from autoprune.reports.html.rendering import Table, picture, render, table

__all__ = ["write_bench"]


def write_bench(content: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write `bench.json`, `bench.html` and, where matplotlib is installed, `bench.png` into a folder.

    Every file is written beside its goal and renamed.

    Returns:
        What was written.

    Raises:
        InputError: If the folder cannot be written to.
    """
    folder = Path(folder)
    json_path, page, drawing = (folder / f"bench.{suffix}" for suffix in ("json", "html", "png"))
    write_json(json_path, dict(content))
    write_text(page, _page(content))
    try:
        require_matplotlib()
    except MissingExtraError:
        return [json_path, page]
    save(bench_figure(content), drawing)
    return [json_path, page, drawing]


def _page(content: Mapping[str, Any]) -> str:
    subject = content["subject"]
    return render(
        "bench.html",
        title=f"autoprune bench: {subject['name']}",
        compared=smaller_of(content["networks"]),
        picture=picture(lambda palette: bench_figure(content, palette), _caption(content)),
        targets=table(("target", *target_columns(content)), _on_page(target_rows(content))),
        networks=table(("network", *network_columns(content)), _on_page(network_rows(content))),
        lines=bench_lines(content),
        repetitions=content["repetitions"],
        inputs=TIMES.join(map(str, subject["example"])),
        conditions=_conditions(content),
    )


def _on_page(rows: Sequence[tuple[str, Cells]]) -> list[tuple[object, ...]]:
    """Rows of a page's table: no room is left beside figures that are relative to nothing."""
    return [(name, *((text, beside) if beside else text for text, beside in cells)) for name, cells in rows]


def _caption(content: Mapping[str, Any]) -> str:
    compared = smaller_of(content["networks"])
    if compared is None:
        return "Latency of one call on every target."
    if compared == "dynamic":
        return (
            "Left: mean latency of a stream of inputs, one by one. Right: the dynamic network's share of the dense"
            f" one's, the median of {content['repetitions']} streams and their range."
        )
    return (
        "Left: latency of one call. Right: the pruned network's share of the dense one's, the median of "
        f"{content['repetitions']} interleaved pairs and their range; the line is its share of multiply-accumulates."
    )


def _conditions(content: Mapping[str, Any]) -> Table:
    """What was compared, and each target's device and clock."""
    known = {"subject": content["subject"]}
    known |= {name: {**row["device"], "clock": row["dense"]["clock"]} for name, row in timed(content)}
    return table(("name", "value"), [(name, plain(value)) for name, value in flat(known)], words=2)
