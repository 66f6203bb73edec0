"""What a quantization came to: tables and sentences, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autoprune.foundations.numbers import milliseconds
from autoprune.reports.format import NONE, reasons_in_lines
from autoprune.run.report import REPORT_SCHEMA, Figures, Report
from autoprune.run.score import ScoreSpec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "FIGURES",
    "LAYER_COLUMNS",
    "NETWORK_COLUMNS",
    "QUANTIZE_SCHEMA",
    "TYPE_COLUMNS",
    "compared_as",
    "is_quantization",
    "layer_cells",
    "network_cells",
    "quantization_lines",
    "quantization_tables",
    "type_cells",
]

QUANTIZE_SCHEMA = "autoprune.quantize/1"
"""What `report.json` of such a run calls itself."""

FIGURES = {"float32": "float", "int8": "quantized"}
"""What a run hands over -> where its report has the figures of that; those of 16 bits have the format's name."""

NETWORK_COLUMNS = ("network", "score", "latency, ms", "of float32", "bytes", "zeros")
LAYER_COLUMNS = ("layer", "type", "range of inputs", "error alone", "float32, ms", "int8, ms", "gain, ms")
TYPE_COLUMNS = ("types", "score on the search split", "latency, ms", "speedup")


def is_quantization(content: Mapping[str, Any]) -> bool:
    """Whether a report is a quantization's."""
    return content.get("schema") == QUANTIZE_SCHEMA


def compared_as(content: Mapping[str, Any]) -> Report:
    """A quantized run's report as others are compared: what was quantized as the raw cut, what is handed over last.

    Raises:
        InputError: If a value is of the wrong kind; the first fault is named.
    """
    last = FIGURES.get(str(content.get("handed_over")), str(content.get("handed_over")))
    alike = (
        "model",
        "weights",
        "data",
        "target",
        "device",
        "seed",
        "score_name",
        "direction",
        "score_format",
        "seconds",
    )
    known = {name: content[name] for name in alike if name in content}
    networks = {"dense": content.get("dense"), "pruned": content.get("float"), "finetuned": content.get(last)}
    return Report.of({"schema": REPORT_SCHEMA, **known, **networks, "agent": f"quantize: {content.get('handed_over')}"})


def network_cells(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each network; the dense one only where something was pruned."""
    spec, base = _spec(content), content["float"]["latency_ms"]
    handed = FIGURES.get(content["handed_over"], content["handed_over"])
    names = [*([] if content["from_run"] is None else ["dense"]), "float", "quantized", handed]
    for name in dict.fromkeys(names):
        figures = Figures.model_validate(content[name])
        extra = figures.model_extra or {}
        latency = figures.latency_ms or 0.0
        size, zeros = extra.get("bytes"), extra.get("zeros")
        score = NONE if figures.mean is None else spec.text(figures.mean)
        cells = (milliseconds(latency), f"{latency / base:.1%}", _whole(size), _whole(zeros))
        yield ("float32" if name == "float" else name, score, *cells)


def layer_cells(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each layer."""
    for row in content["layers"]:
        limits = NONE if row["range"] is None else f"{row['range'][0]:.3g} to {row['range'][1]:.3g}"
        error = NONE if row["error"] is None else f"{row['error']:.2%}"
        times = [row["latency_float_ms"], row["latency_int8_ms"], row["gain"]]
        yield (row["name"], row["type"], limits, error, *(NONE if ms is None else milliseconds(ms) for ms in times))


def type_cells(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each type of integers that was timed."""
    spec = _spec(content)
    for row in content["tried_types"]:
        yield (row["types"], spec.text(row["score"]), milliseconds(row["latency_ms"]), f"{row['speedup']:.2f}")


def quantization_tables(content: Mapping[str, Any]) -> list[Table]:
    """The tables for the terminal: layers, types, networks."""
    found = []
    for columns, cells in (
        (LAYER_COLUMNS, layer_cells(content)),
        (TYPE_COLUMNS, type_cells(content)),
        (NETWORK_COLUMNS, network_cells(content)),
    ):
        found.append(_table(columns))
        for row in cells:
            found[-1].add_row(*row)
    return found


def quantization_lines(content: Mapping[str, Any]) -> list[str]:
    """The sentences under the tables."""
    stay = content["float_layers"]
    layers = f"{stay} of {len(content['layers'])} layers stay float32" if stay else "every layer computes with integers"
    lines = [
        f"{content['types']}, ranges by {content['ranges']} of {content['calibration_images']} images, {layers}",
        f"{content['speedup']:.2f} times as fast as float32 on {content['target']}",
    ]
    if content.get("qat"):
        done, spec = content["qat"], _spec(content)
        kept = "" if done["kept"] else "; it was not kept"
        scores = f"{spec.text(done['before'])} before, {spec.text(done['after'])} after, on the search split{kept}"
        lines.append(f"trained with integers for {done['epochs']} epochs: {scores}")
    for half in content.get("tried_halves", ()):
        score = f"{half['type']}: {_spec(content).text(half['score'])} on the search split"
        speed = f"{half['speedup']:.2f} times as fast as float32" if half["speedup"] else "not within the tolerance"
        lines.append(f"{score}, {speed}")
    if content["reason"]:
        lines.append(f"{content['handed_over']} is handed over: {content['reason']}")
    return lines + reasons_in_lines([row for row in content["layers"] if row["reason"]])


def _spec(content: Mapping[str, Any]) -> ScoreSpec:
    return ScoreSpec.of_fields(content.get("score_name"), content.get("direction"), content.get("score_format"))


def _whole(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def _table(columns: tuple[str, ...]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table
