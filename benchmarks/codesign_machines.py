"""The accelerators' machine models against published figures: EIE's nine layers, queues, lines, balance, encodings.

    python benchmarks/codesign_machines.py [--seeds 3] [--layers Alex-8,NT-We] [--out FILE.json]

The masks are made up: EIE's own are not public but for one layer, which is not part of this repository. `plain` is
i.i.d. at the printed densities. `scaled` moves the activations' density (of NT layers the weights') until the work,
padding entries included, is what the paper prints as its theoretical time; rows then differ in density by 14 % and
columns by 8 % (log-normal), as they do in the one public layer: so it tests the imbalance, not the workload. The
printed figures are recalled from the paper and were not read again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoprune.hardware.accelerators import LayerWork, load_accelerator
from autoprune.hardware.accelerators.encodings.base import entropy_bits
from autoprune.hardware.accelerators.encodings.closed_forms import relative_bits, smallest_density_of_bitmap
from autoprune.hardware.accelerators.encodings.dense import Bitmap
from autoprune.hardware.accelerators.encodings.fixed import ColumnBalanced
from autoprune.hardware.accelerators.encodings.gaps import Relative, RunLength
from autoprune.hardware.accelerators.encodings.places import Compressed, Coordinates
from autoprune.hardware.accelerators.technology.sram import Sram
from autoprune.hardware.accelerators.templates.eie import lines_read
from autoprune.hardware.accelerators.templates.queues import drained, stream_of
from autoprune.hardware.accelerators.templates.slices import Slices, slices_of

PES, CLOCK_MHZ, GAP, PAPER_RING = 64, 800, 15, 8
RINGS = (2, 9, 257)
CURVE = (2, 3, 5, 8, 9, 16, 64)
LINES = (32, 64, 128)
ROWS_DIFFER, COLUMNS_DIFFER = 0.14, 0.08


@dataclass(frozen=True)
class Published:
    """A layer of the paper's benchmark, as recalled.

    Attributes:
        inputs: Columns.
        outputs: Rows.
        weights: Density of the weights.
        activations: Share of the activations that are not zero.
        theory_us: Printed theoretical time in microseconds.
        actual_us: Printed actual time.
    """

    inputs: int
    outputs: int
    weights: float
    activations: float
    theory_us: float
    actual_us: float


LAYERS = {
    "Alex-6": Published(9216, 4096, 0.09, 0.351, 28.1, 30.3),
    "Alex-7": Published(4096, 4096, 0.09, 0.353, 11.7, 12.2),
    "Alex-8": Published(4096, 1000, 0.25, 0.375, 8.9, 9.9),
    "VGG-6": Published(25088, 4096, 0.04, 0.183, 28.1, 34.4),
    "VGG-7": Published(4096, 4096, 0.04, 0.375, 7.9, 8.7),
    "VGG-8": Published(4096, 1000, 0.23, 0.411, 7.3, 8.4),
    "NT-We": Published(4096, 600, 0.10, 1.0, 5.2, 8.0),
    "NT-Wd": Published(600, 8791, 0.11, 1.0, 13.0, 13.9),
    "NT-LSTM": Published(1201, 2400, 0.10, 1.0, 6.5, 7.5),
}


def drawn_mask(layer: Published, density: float, draw: np.random.Generator, *, uneven: bool) -> np.ndarray:
    """A mask of a density; uneven rows and columns differ as in the public layer."""
    rows = np.exp(draw.normal(0, ROWS_DIFFER, layer.outputs)) if uneven else np.ones(layer.outputs)
    columns = np.exp(draw.normal(0, COLUMNS_DIFFER, layer.inputs)) if uneven else np.ones(layer.inputs)
    rows, columns = (each / each.mean() for each in (rows, columns))
    mask = np.empty((layer.outputs, layer.inputs), dtype=np.bool_)
    for start in range(0, layer.outputs, 256):
        part = slice(start, start + 256)
        bound = (density * rows[part, None] * columns).astype(np.float32)
        mask[part] = draw.random(bound.shape, dtype=np.float32) < bound
    return mask


def drawn_activations(layer: Published, share: float, draw: np.random.Generator) -> np.ndarray:
    """One vector with exactly that share of non-zeros."""
    active = np.zeros((1, layer.inputs), dtype=np.bool_)
    active[0, draw.permutation(layer.inputs)[: round(min(1.0, share) * layer.inputs)]] = True
    return active


def theory_us(slices: Slices, active: np.ndarray) -> float:
    """All entries that are used, spread evenly over the PEs."""
    return float(slices.entries.sum(axis=1)[active[0]].sum()) / PES / CLOCK_MHZ


def cycles_of(slices: Slices, active: np.ndarray, ring: int | None) -> int:
    """Cycles of one vector."""
    return int(drained(stream_of(active, PES), np.maximum(slices.entries, 1), ring)[0])


def fresh_reads(slices: Slices, active: np.ndarray, a_line: int) -> int:
    """Lines that are read where none is kept from one column to the next."""
    ends = np.cumsum(slices.entries, axis=0)
    lines = (ends - 1) // a_line - (ends - slices.entries) // a_line + 1
    return int(np.where(slices.entries > 0, lines, 0)[active[0]].sum())


def plain(layer: Published, seed: int) -> tuple[Slices, np.ndarray]:
    """At the printed densities."""
    draw = np.random.default_rng(seed)
    mask = drawn_mask(layer, layer.weights, draw, uneven=False)
    return slices_of(mask, PES, GAP), drawn_activations(layer, layer.activations, draw)


def scaled(layer: Published, seed: int) -> tuple[Slices, np.ndarray]:
    """With the printed theoretical time."""
    draw = np.random.default_rng(seed)
    if layer.activations < 1:
        slices = slices_of(drawn_mask(layer, layer.weights, draw, uneven=True), PES, GAP)
        everything = theory_us(slices, np.ones((1, layer.inputs), dtype=np.bool_))
        return slices, drawn_activations(layer, layer.theory_us / everything, draw)
    active, density = np.ones((1, layer.inputs), dtype=np.bool_), layer.weights
    for _ in range(3):
        slices = slices_of(drawn_mask(layer, density, np.random.default_rng(seed), uneven=True), PES, GAP)
        density *= layer.theory_us / theory_us(slices, active)
    return slices, active


def times(name: str, seeds: int) -> dict[str, float]:
    """Microseconds of one layer, mean over the seeds, and its efficiency with queues of several lengths."""
    layer, rows = LAYERS[name], []
    for seed in range(seeds):
        slices, active = plain(layer, seed)
        useful = slices.useful.sum(axis=1)[active[0]].sum()
        row = {"plain_us": cycles_of(slices, active, PAPER_RING) / CLOCK_MHZ}
        row |= {f"efficiency_{ring}": useful / cycles_of(slices, active, ring) / PES for ring in RINGS}
        if name != "VGG-6":  # whose work the printed densities do not explain
            stream = stream_of(active, PES)
            row |= {f"reads_{bits}": lines_read(stream, slices.entries, bits // 8) for bits in LINES}
            row |= {f"fresh_reads_{bits}": fresh_reads(slices, active, bits // 8) for bits in LINES}
        slices, active = scaled(layer, seed)
        row |= {"scaled_us": cycles_of(slices, active, PAPER_RING) / CLOCK_MHZ, "ideal_us": theory_us(slices, active)}
        rows.append(row)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def queue_curve(name: str = "Alex-8", seed: int = 0) -> dict[str, int]:
    """Cycles of one scaled layer by the slots of the queues."""
    slices, active = scaled(LAYERS[name], seed)
    return {f"{ring} slots": cycles_of(slices, active, ring) for ring in CURVE}


def balanced_mask(layer: Published, count: int, seed: int) -> np.ndarray:
    """The same count of weights in every slice, whether or not rows come out even."""
    draw = np.random.default_rng(seed)
    rows = -(-layer.outputs // PES)
    mask = np.empty((rows * PES, layer.inputs), dtype=np.bool_)
    for start in range(0, layer.inputs, 1024):
        order = draw.random((rows, PES, min(1024, layer.inputs - start)), dtype=np.float32)
        order.reshape(rows * PES, -1)[layer.outputs :] = 2.0  # rows that are not there come last
        kept = np.zeros(order.shape, dtype=np.bool_)
        np.put_along_axis(kept, np.argpartition(order, count - 1, axis=0)[:count], True, axis=0)
        mask[:, start : start + 1024] = kept.reshape(rows * PES, -1)
    return mask[: layer.outputs]


def balanced(name: str, seed: int = 0) -> dict[str, float | str]:
    """The layer with column-balanced weights, on a chip without queues and pointers."""
    layer, chip = LAYERS[name], load_accelerator("balanced")
    count = int(layer.weights * layer.outputs / PES)
    active = drawn_activations(layer, layer.activations, np.random.default_rng(seed))
    if count < 1:
        mask = np.random.default_rng(seed).random((layer.outputs, layer.inputs)) < layer.weights
        return {"refused": str(chip.why_not(LayerWork(name, mask, active)))}
    cost = chip.price(LayerWork(name, balanced_mask(layer, count, seed), active))
    return {"count": count, "non_zeros": int(active.sum()), "cycles": cost.cycles, "efficiency": cost.utilisation}


def encodings(densities: tuple[float, ...] = (0.5, 0.25, 0.09, 0.04, 0.01)) -> dict[str, dict[str, float]]:
    """Bits of index for each weight, values of 4 bits, 4096 x 512 on 64 PEs; and the entropy bound."""
    draw, shape, found = np.random.default_rng(0), (4096, 512), {}
    for density in densities:
        mask = draw.random(shape) < density
        pointers = 16 * PES * (shape[1] + 1) / mask.sum()
        relative = {bits: Relative(bits, PES, 24).encode(mask) for bits in (4, 8)}
        apart = 24 * PES * (shape[1] + 1) / mask.sum()
        count = max(1, round(density * shape[0] / PES))
        column = balanced_mask(Published(shape[1], shape[0], density, 1, 0, 0), count, 0)
        found[f"{density:g}"] = {
            "entropy bound": entropy_bits(density),
            "bitmap": Bitmap().encode(mask).index_bits(4),
            "run length 4": RunLength(4).encode(mask).index_bits(4),
            "relative 4": relative[4].index_bits(4) - apart,
            "relative 8": relative[8].index_bits(4) - apart,
            "its pointers (16 bits)": pointers,
            "CSC": Compressed(columns=True).encode(mask).index_bits(4),
            "coordinates": Coordinates().encode(mask).index_bits(4),
            "column-balanced": ColumnBalanced(count, pes=PES).encode(column).index_bits(4),
        }
    return found


def crossovers() -> dict[str, float]:
    """Where a bitmap begins to be smaller, and the best width of a relative index, by the closed forms."""
    above = {f"bitmap below relative {bits} above": smallest_density_of_bitmap(bits, 4, 64) for bits in (4, 8)}
    best = {
        f"best width at {density:g}": float(min(range(2, 11), key=lambda b, d=density: relative_bits(d, b, 4)))
        for density in (0.25, 0.15, 0.10, 0.05, 0.02)
    }
    return above | best


def show(title: str, rows: dict[str, dict]) -> None:
    """A table in Markdown."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n{title}\n\n|  | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, row in rows.items():
        cells = (row.get(column, "") for column in columns)
        print(f"| {name} | " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |")


def main() -> None:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", default=",".join(LAYERS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    start, names = time.perf_counter(), arguments.layers.split(",")
    table = {name: times(name, arguments.seeds) for name in names}
    for name, row in table.items():
        printed = LAYERS[name].actual_us
        row["printed_us"] = printed
        row["plain_off"], row["scaled_off"] = (row[f"{kind}_us"] / printed - 1 for kind in ("plain", "scaled"))
    reads, fresh = (
        {f"{b} bits": sum(r.get(f"{kind}_{b}", 0) * Sram(128, b).read_pj * 1e-6 for r in table.values()) for b in LINES}
        for kind in ("reads", "fresh_reads")
    )
    off = {kind: [abs(row[f"{kind}_off"]) for row in table.values()] for kind in ("plain", "scaled")}
    summary = {
        "mean off": {kind: float(np.mean(values)) for kind, values in off.items()},
        "worst off": {kind: float(max(values)) for kind, values in off.items()},
        "uJ of weight reads without VGG-6": reads,
        "the same, no line kept for the next column": fresh,
        "area mm2 (paper 40.8)": {"eie": load_accelerator("eie").area_mm2},
    }
    balance = {name: balanced(name) for name in names}
    bits = encodings()
    show("Nine layers", {n: {k: v for k, v in row.items() if "reads" not in k} for n, row in table.items()})
    show("Summary", summary)
    show("Queues of a scaled Alex-8, cycles", {"": queue_curve()})
    show("Column balance", balance)
    show("Bits of index for each weight", bits)
    show("By the closed forms", {"": crossovers()})
    print(f"\n{time.perf_counter() - start:.0f} s")
    if arguments.out is not None:
        content = {"layers": table, "summary": summary, "balance": balance, "bits": bits, "closed forms": crossovers()}
        arguments.out.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
