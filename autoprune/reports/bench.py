"""What `autoprune bench` measured: tables for the terminal and the sentences under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoprune.reports.figures.bench import networks_of, smaller_of
from autoprune.reports.format import NONE, TIMES, count, milliseconds, percent, reasons_in_lines, share
from autoprune.run.report import episode_score
from autoprune.run.score import ScoreSpec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "LAYER_COLUMNS",
    "Cells",
    "bench_lines",
    "bench_tables",
    "layer_cells",
    "network_columns",
    "network_rows",
    "target_columns",
    "target_rows",
    "timed",
]

SIZES = ("MACs", "params", "safetensors", "ONNX")
LAYER_COLUMNS = ("dense ms", "sparse ms", "of dense", "runs")

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
    for made, first, columns in (
        (networks, "network", network_columns(content)),
        (targets, "target", target_columns(content)),
    ):
        made.add_column(first, overflow="fold")
        for name in columns:
            made.add_column(name, justify="right", no_wrap=True)
    for name, cells in network_rows(content):
        networks.add_row(name, *(Text(text).append(f"\n{rel}" if rel else "", "dim") for text, rel in cells))
    for name, cells in target_rows(content):
        targets.add_row(
            Text(name), *(Text(text).append(f"\n{range_}" if range_ else "", "dim") for text, range_ in cells)
        )
    return [networks, targets, *_layer_tables(content)]


def _layer_tables(content: Mapping[str, Any]) -> list[Table]:
    """For each target on which layers were timed with sparse kernels: dense against sparse, layer by layer."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tables = []
    for name, row in timed(content):
        measured = [each for each in row.get("layers", ()) if each["ratio"] is not None]
        if not measured:
            continue
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(f"2:4 layers on {name}"), title_justify="left")
        table.add_column("layer", overflow="fold")
        for heading in LAYER_COLUMNS:
            table.add_column(heading, justify="right", no_wrap=True)
        for each in measured:
            table.add_row(Text(each["name"]), *layer_cells(each))
        tables.append(table)
    return tables


def layer_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of `LAYER_COLUMNS` of one layer."""
    ratio = row["ratio"]
    spread = f"{percent(ratio['median'], 1)} ({100 * ratio['least']:.1f}\N{EN DASH}{percent(ratio['most'], 1)})"
    return milliseconds(row["latency_dense_ms"]), milliseconds(row["latency_sparse_ms"]), spread, row["chosen"]


def bench_lines(content: Mapping[str, Any]) -> list[str]:
    """The sentences under the tables: what could not be timed or scored, and why; what was not stable."""
    lines = [f"{name}: {row['reason']}" for name, row in content["targets"].items() if row["reason"] is not None]
    unstable = [name for name, row in timed(content) if not all(f["stable"] for f in networks_of(row))]
    if unstable:
        lines.append(f"not stable, the machine was noisy: {', '.join(unstable)}")
    lines += [line for name, row in timed(content) if "paths" in row for line in _lines_of_paths(name, row)]
    lines += [line for name, row in timed(content) for line in _lines_of_layers(name, row.get("layers", ()))]
    if content["unscored"] is not None:
        lines.append(f"{_spec(content).name} was not measured: {content['unscored']}")
    return lines


def _lines_of_layers(target: str, layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many layers sparse kernels run, and why the others are dense; layers of one reason in one line."""
    sparse = sum(each["chosen"] == "sparse" for each in layers)
    measured = sum(each["ratio"] is not None for each in layers)
    first = f"{target}: of {measured} layers that sparse kernels can run, {sparse} are faster with them"
    return [*([first] if measured else []), *(f"{target}, {line}" for line in reasons_in_lines(layers))]


def _lines_of_paths(target: str, row: Mapping[str, Any]) -> list[str]:
    """What a network whose time depends on its input takes beside the mean, and who takes which path."""
    own, dense = row["dynamic"], row["dense"]["path_ms"]
    ends = (f"{name} path {own[f'{name}_ms'] / dense:.1%}" for name in ("shortest", "longest"))
    paths = (
        f"{each['place']} {each['inputs'] / row['inputs']:.1%}"
        + ("" if each["ms"] is None else f" at {milliseconds(each['ms'])} ms")
        for each in row["paths"]
    )
    lines = [
        f"{target}: mean of {row['inputs']} inputs one by one, whole calls; of dense, their 95th percentile"
        f" {row['p95_ratio']['median']:.1%}, {', '.join(ends)}",
        f"{target}: {', '.join(paths)}",
    ]
    apart = sum(abs(each["inputs"] - each["in_torch"]) for each in row["paths"]) // 2
    return [*lines, *([f"{target}: {apart} inputs take other paths in PyTorch"] if apart else [])]


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


def target_columns(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Headings of the targets' table."""
    beside = smaller_of(content["networks"]) or "pruned"
    return ("dense ms", f"{beside} ms", "of dense", "speed-up", "peak MiB")


def target_rows(content: Mapping[str, Any]) -> list[tuple[str, Cells]]:
    """A row for each target that was timed: its name, and the cells of `target_columns`."""
    rows, beside = [], smaller_of(content["networks"]) or ""
    for name, row in timed(content):
        pruned, ratio = row.get(beside, {}), row.get("ratio")
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
