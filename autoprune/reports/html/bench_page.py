"""What `autoprune bench` came to: tables for the terminal, a picture, a page, the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import MissingExtraError
from autoprune.foundations.files import write_json, write_text
from autoprune.reports.figures._matplotlib import PAGE, require_matplotlib, save
from autoprune.reports.figures.bench import bench_figure, networks_of
from autoprune.reports.format import NONE, TIMES, count, flat, milliseconds, percent, plain, points, share
from autoprune.reports.html.elements import Html, document, element, join, section, table
from autoprune.reports.html.picture import picture

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["bench_lines", "bench_tables", "write_bench"]

_NETWORK_COLUMNS = ("accuracy", "MACs", "params", "safetensors", "ONNX")
_TARGET_COLUMNS = ("dense ms", "pruned ms", "of dense", "speed-up", "peak MiB")

Cells = list[tuple[str, str]]  # a figure and how it stands to the dense network's


def bench_tables(content: Mapping[str, Any]) -> list[Table]:
    """The networks, and the targets that timed them.

    Args:
        content: What `bench.json` holds.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    networks, targets = (Table(box=box.SIMPLE_HEAD, pad_edge=False) for _ in range(2))
    for made, first, columns in ((networks, "network", _NETWORK_COLUMNS), (targets, "target", _TARGET_COLUMNS)):
        made.add_column(first, overflow="fold")
        for name in columns:
            made.add_column(name, justify="right", no_wrap=True)
    for name, cells in _network_rows(content):
        networks.add_row(name, *(Text(text).append(f"\n{rel}" if rel else "", "dim") for text, rel in cells))
    for name, cells in _target_rows(content):
        targets.add_row(
            Text(name), *(Text(text).append(f"\n{range_}" if range_ else "", "dim") for text, range_ in cells)
        )
    return [networks, targets]


def bench_lines(content: Mapping[str, Any]) -> list[str]:
    """The sentences under the tables: what could not be timed or scored, and why; what was not stable."""
    lines = [f"{name}: {row['reason']}" for name, row in content["targets"].items() if row["reason"] is not None]
    unstable = [name for name, row in _timed(content) if not all(f["stable"] for f in networks_of(row))]
    if unstable:
        lines.append(f"not stable, the machine was noisy: {', '.join(unstable)}")
    if content["unscored"] is not None:
        lines.append(f"accuracy was not measured: {content['unscored']}")
    return lines


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


def _timed(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, row) for name, row in content["targets"].items() if "dense" in row]


def _network_rows(content: Mapping[str, Any]) -> list[tuple[str, Cells]]:
    dense = content["networks"]["dense"]
    rows = []
    for name, figures in content["networks"].items():
        small = name != "dense"
        gain = None if None in (figures["accuracy"], dense["accuracy"]) else figures["accuracy"] - dense["accuracy"]
        cells = [(percent(figures["accuracy"]), points(gain) if small and gain is not None else "")]
        for key, written in (("flops", count), ("params", count), ("safetensors_bytes", _size), ("onnx_bytes", _size)):
            relative = share(figures[key], dense[key])
            cells.append((written(figures[key]), relative if small and relative != NONE else ""))
        rows.append((name, cells))
    return rows


def _target_rows(content: Mapping[str, Any]) -> list[tuple[str, Cells]]:
    rows = []
    for name, row in _timed(content):
        pruned, ratio = row.get("pruned", {}), row.get("ratio")
        left = faster = (NONE, "")
        if ratio is not None:
            left = (percent(ratio["median"], 1), f"{100 * ratio['least']:.1f}\N{EN DASH}{percent(ratio['most'], 1)}")
            faster = (f"{1 / ratio['median']:.2f}{TIMES}", "")
        latencies = [(milliseconds(figures.get("latency_ms")), "") for figures in (row["dense"], pruned)]
        rows.append((name, [*latencies, left, faster, (_memory(networks_of(row)), "")]))
    return rows


def _size(size: float | None) -> str:
    """Bytes for people: 1090000 -> `1.09 MB`."""
    text = count(size)
    return text if text == NONE else f"{text}B" if text[-1].isalpha() else f"{text} B"


def _memory(networks: Sequence[Mapping[str, Any]]) -> str:
    """Peak memory in MB, dense and pruned: `73, 70`."""
    peaks = [figures["peak_memory_mb"] for figures in networks]
    return NONE if None in peaks else ", ".join(f"{peak:.0f}" for peak in peaks)


def _page(content: Mapping[str, Any]) -> str:
    subject = content["subject"]
    small = "pruned" in content["networks"]
    title = f"autoprune bench: {subject['name']}"
    told = "Dense against pruned on every target" if small else "The dense network on every target"
    return document(
        title,
        element("header", element("h1", title), element("p", f"{told}.", class_="soft")),
        section(
            "Latency",
            picture(lambda: bench_figure(content, PAGE), "bench", _caption(content)),
            table(("target", *_TARGET_COLUMNS), _on_page(_target_rows(content))),
            *(element("p", line, class_="soft") for line in bench_lines(content)),
            element("p", _explained(content), class_="soft"),
        ),
        section("Networks", table(("network", *_NETWORK_COLUMNS), _on_page(_network_rows(content)))),
        section("Conditions", *_conditions(content)),
    )


def _on_page(rows: Sequence[tuple[str, Cells]]) -> list[list[object]]:
    return [
        [name, *(join([text, element("small", beside)]) if beside else text for text, beside in cells)]
        for name, cells in rows
    ]


def _caption(content: Mapping[str, Any]) -> str:
    if "pruned" not in content["networks"]:
        return "Latency of one call on every target."
    return (
        "Left: latency of one call. Right: the pruned network's share of the dense one's, the median of "
        f"{content['repetitions']} interleaved pairs and their range; the line is its share of multiply-accumulates."
    )


def _explained(content: Mapping[str, Any]) -> str:
    return (
        f"{content['repetitions']} repetitions in one worker process a target, the networks interleaved; a latency is "
        "the median over the repetitions, a share the median of the pairs' ratios. Memory is the peak of a worker "
        f"process of its own, the runtime included. Inputs are {TIMES.join(map(str, content['subject']['example']))}."
    )


def _conditions(content: Mapping[str, Any]) -> Sequence[Html]:
    told = {"subject": content["subject"]}
    told |= {name: {**row["device"], "clock": row["dense"]["clock"]} for name, row in _timed(content)}
    return [table(("name", "value"), [(name, plain(value)) for name, value in flat(told)], words=2)]
