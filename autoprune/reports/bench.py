"""What `autoprune bench` measured: tables for the terminal and the sentences under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoprune.reports.figures.bench import networks_of
from autoprune.reports.format import NONE, TIMES, count, milliseconds, percent, share
from autoprune.run.report import episode_score
from autoprune.run.score import ScoreSpec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "TARGET_COLUMNS",
    "Cells",
    "bench_lines",
    "bench_tables",
    "network_columns",
    "network_rows",
    "target_rows",
    "timed",
]

SIZES = ("MACs", "params", "safetensors", "ONNX")
TARGET_COLUMNS = ("dense ms", "pruned ms", "of dense", "speed-up", "peak MiB")

Cells = list[tuple[str, str]]  # a figure, and what it is relative to the dense network's


def bench_tables(content: Mapping[str, Any]) -> list[Table]:
    """The networks, and the targets that timed them.

    Args:
        content: What `bench.json` holds.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    networks, targets = (Table(box=box.SIMPLE_HEAD, pad_edge=False) for _ in range(2))
    for made, first, columns in ((networks, "network", network_columns(content)), (targets, "target", TARGET_COLUMNS)):
        made.add_column(first, overflow="fold")
        for name in columns:
            made.add_column(name, justify="right", no_wrap=True)
    for name, cells in network_rows(content):
        networks.add_row(name, *(Text(text).append(f"\n{rel}" if rel else "", "dim") for text, rel in cells))
    for name, cells in target_rows(content):
        targets.add_row(
            Text(name), *(Text(text).append(f"\n{range_}" if range_ else "", "dim") for text, range_ in cells)
        )
    return [networks, targets]


def bench_lines(content: Mapping[str, Any]) -> list[str]:
    """The sentences under the tables: what could not be timed or scored, and why; what was not stable."""
    lines = [f"{name}: {row['reason']}" for name, row in content["targets"].items() if row["reason"] is not None]
    unstable = [name for name, row in timed(content) if not all(f["stable"] for f in networks_of(row))]
    if unstable:
        lines.append(f"not stable, the machine was noisy: {', '.join(unstable)}")
    if content["unscored"] is not None:
        lines.append(f"{_spec(content).name} was not measured: {content['unscored']}")
    return lines


def timed(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The targets that were timed, with their figures."""
    return [(name, row) for name, row in content["targets"].items() if "dense" in row]


def network_columns(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Headings of the networks' table: the score, and sizes."""
    return (_spec(content).name, *SIZES)


def _spec(content: Mapping[str, Any]) -> ScoreSpec:
    return ScoreSpec.of_fields(content.get("score_name"), content.get("direction"), content.get("score_format"))


def network_rows(content: Mapping[str, Any]) -> list[tuple[str, Cells]]:
    """A row for each network: its name, and the cells of `network_columns`."""
    dense, spec = content["networks"]["dense"], _spec(content)
    rows = []
    for name, figures in content["networks"].items():
        small = name != "dense"
        score, was = episode_score(figures), episode_score(dense)
        gain = None if score is None or was is None else score - was
        cells = [(spec.text(score), spec.change(gain) if small and gain is not None else "")]
        for key, written in (("flops", count), ("params", count), ("safetensors_bytes", _size), ("onnx_bytes", _size)):
            relative = share(figures[key], dense[key])
            cells.append((written(figures[key]), relative if small and relative != NONE else ""))
        rows.append((name, cells))
    return rows


def target_rows(content: Mapping[str, Any]) -> list[tuple[str, Cells]]:
    """A row for each target that was timed: its name, and the cells of `TARGET_COLUMNS`."""
    rows = []
    for name, row in timed(content):
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
