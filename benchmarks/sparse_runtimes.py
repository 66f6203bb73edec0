"""From which share of zeros on a CPU's runtimes multiply faster with a sparse weight than with the dense one.

    python benchmarks/sparse_runtimes.py --out sparse-runtimes.json
    python benchmarks/sparse_runtimes.py --out sparse-runtimes.json --table --picture sparse-runtimes.svg

One linear layer, y = x W^T, at several sizes and numbers of rows, on one thread. Each runtime is compared with itself:

- `torch CSR`: single weights, `unstructured`, as torch.sparse_csr; `torch BSR 16x16`: whole blocks, as
  torch.sparse_bsr; both against torch's dense product in float32.
- `openvino f32` and `openvino int8`: the same graph with zeros in its weights, compiled with
  CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE = 0.1, against weights without zeros. The plugin has kernels for it in int8,
  on processors with AMX, only; elsewhere the option is accepted and changes nothing, which is what this shows.
- `onnxruntime`: has no sparse kernels; the same graph with zeros.

XNNPACK has sparse kernels for 1x1 convolutions in networks of a certain form. `--executorch` times such a network
through ExecuTorch instead, dense and with zeros in its 1x1 convolutions (pip install 'autoprune[executorch]').

Dense and sparse calls alternate in one process, in CPU time of the process, which other work disturbs least; a pair of
them gives one ratio, dense / sparse: above 1 the sparse weight is faster. Shown are the median and the quartiles of
--rounds pairs. The crossover is the largest density at which, and below which, the lower quartile lies above 1.1: calls
that do the same (all but torch's are) differ by nearly as much, and by more where one row is multiplied with 9 MB of
weights.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autoprune.hardware.sensors.processor import cpu_model
from autoprune.masks.base import Pattern
from autoprune.masks.blocks import Blocks
from autoprune.masks.unstructured import Unstructured
from autoprune.reports.figures._matplotlib import LIGHT, legend, new_figure, save

SHAPES = ((256, 256), (1024, 1024), (3072, 768))
ROWS = (1, 16, 197)
DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
FASTER = 1.1  # a ratio that is no noise
_SECONDS = 0.004  # of one timing; a call that is shorter is repeated
_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_COLOURS = (LIGHT.kept, LIGHT.limit, LIGHT.chosen)

Call = Callable[[], object]


def torch_call(weight: Tensor, x: Tensor, layout: str) -> Call:
    """A product by torch with the weight in a layout."""
    if layout == "CSR":
        weight = weight.to_sparse_csr()
    elif layout == "BSR":
        weight = weight.to_sparse_bsr((16, 16))
    return lambda: linear(x, weight)


def onnxruntime_call(weight: Tensor, x: Tensor, _: str) -> Call:
    """A product by onnxruntime."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))
    wanted = helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(x), len(weight)])
    held = numpy_helper.from_array(np.ascontiguousarray(weight.numpy().T), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "one", [given], [wanted], [held])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    return lambda: session.run(None, feed)


def openvino_call(weight: Tensor, x: Tensor, layout: str) -> Call:
    """A product by openvino, in float32 or, where the layout says so, with both sides in int8."""
    import openvino
    from openvino import opset13 as ops

    given = ops.parameter(list(x.shape), np.float32)
    if layout.startswith("int8"):
        step = float(weight.abs().max()) / 127
        held: Any = ops.convert(ops.constant((weight / step).round().to(torch.int8).numpy()), np.float32)
        held = ops.multiply(held, ops.constant(np.float32(step)))
        ends = [ops.constant(np.float32(end)) for end in (-4.0, 4.0 * 127 / 128)]
        product = ops.matmul(ops.fake_quantize(given, *ends, *ends, 256), held, False, True)
    else:
        product = ops.matmul(given, ops.constant(weight.numpy()), False, True)
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    if layout.endswith("sparse"):
        options["CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"] = 0.1
    request = openvino.Core().compile_model(openvino.Model([product], [given]), "CPU", options).create_infer_request()
    request.set_input_tensor(0, openvino.Tensor(x.numpy().copy()))
    return request.infer


RUNTIMES: dict[str, tuple[Callable[[Tensor, Tensor, str], Call], str, str, Callable[[float], Pattern]]] = {
    "torch CSR": (torch_call, "dense", "CSR", Unstructured),
    "torch BSR 16x16": (torch_call, "dense", "BSR", lambda zeros: Blocks(zeros, 16, 16)),
    "openvino f32": (openvino_call, "f32", "f32 sparse", Unstructured),
    "openvino int8": (openvino_call, "int8", "int8 sparse", Unstructured),
    "onnxruntime": (onnxruntime_call, "dense", "dense", Unstructured),
}
"""Name -> (what makes a call, the layout of the dense weight, of the sparse one, the pattern of a share of zeros)."""


class Pointwise(nn.Module):
    """A form that XNNPACK can run sparse: a strided 3x3 on an image, 1x1 convolutions, the mean over space."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.rest = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in (32, width, width, width))
        for layer in self.rest:
            weight = layer.weight.data
            weight.mul_(Unstructured(share).mask(weight.abs().flatten(1)[None])[0].reshape(weight.shape))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, width, 1, 1)."""
        x = self.stem(x).relu()
        for layer in self.rest:
            x = layer(x).relu()
        return x.mean((2, 3), keepdim=True)


def executorch_table(rounds: int) -> str:
    """Dense / sparse of the network of 1x1 convolutions, by width and density."""
    from autoprune.hardware.targets.executorch import ExecuTorchTarget

    target, x = ExecuTorchTarget(), torch.randn(1, 3, 64, 64)
    lines = ["| width | density | dense / sparse, quartiles |", "|---|---|---|"]
    for width in (128, 256):
        dense = target.load(target.pack(Pointwise(width, 0.0).eval(), x))
        for density in DENSITIES:
            sparse = target.load(target.pack(Pointwise(width, 1 - density).eval(), x))
            row = compared(dense, sparse, rounds)
            lines.append(f"| {width} | {density:.0%} | {row['low']:.2f} {row['ratio']:.2f} {row['high']:.2f} |")
    return "\n".join([f"executorch {version('executorch')}", "", *lines])


def milliseconds(call: Call, repeats: int) -> float:
    """CPU time of one call."""
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats * 1e3


def repeats_of(call: Call) -> int:
    """How often a call is repeated in one timing."""
    for _ in range(3):
        call()
    return max(1, round(_SECONDS * 1e3 / max(milliseconds(call, 5), 1e-4)))


def cells(rounds: int) -> Iterator[dict[str, Any]]:
    """A row for every runtime, size, number of rows and density."""
    draw = torch.Generator().manual_seed(0)
    for outputs, inputs in SHAPES:
        weight = torch.randn(outputs, inputs, generator=draw) / inputs**0.5
        for rows in ROWS:
            x = torch.randn(rows, inputs, generator=draw)
            for name, (make, dense_layout, sparse_layout, pattern) in RUNTIMES.items():
                dense, about = (
                    make(weight, x, dense_layout),
                    {"runtime": name, "shape": [outputs, inputs], "rows": rows},
                )
                for density in DENSITIES:
                    mask = pattern(1 - density).mask(weight.abs()[None])[0]
                    sparse = make(weight * mask, x, sparse_layout)
                    yield about | {"density": density} | compared(dense, sparse, rounds)


def compared(dense: Call, sparse: Call, rounds: int) -> dict[str, Any]:
    """Median times, and the ratio dense / sparse with its quartiles."""
    often = repeats_of(dense), repeats_of(sparse)
    pairs = np.array([(milliseconds(dense, often[0]), milliseconds(sparse, often[1])) for _ in range(rounds)])
    low, middle, high = np.quantile(pairs[:, 0] / pairs[:, 1], [0.25, 0.5, 0.75])
    ms = np.median(pairs, axis=0)
    return {"dense_ms": ms[0], "sparse_ms": ms[1], "ratio": middle, "low": low, "high": high}


def crossover(rows: list[dict[str, Any]]) -> float | None:
    """The largest density from which on down every sparse weight was faster; None if not even the smallest was."""
    found = None
    for row in sorted(rows, key=lambda row: row["density"]):
        if row["low"] <= FASTER:
            break
        found = row["density"]
    return found


def grouped(measured: list[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """(runtime, size, rows) -> its densities."""
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in measured:
        found.setdefault((row["runtime"], "x".join(map(str, row["shape"])), row["rows"]), []).append(row)
    return found


def table(content: dict[str, Any]) -> str:
    """Markdown: the crossover, and the ratio at each density."""
    lines = [
        "| runtime | weight | rows | dense, ms | faster up to | " + " | ".join(f"{d:.0%}" for d in DENSITIES) + " |"
    ]
    lines.append("|---|---|---|---|---|" + "---|" * len(DENSITIES))
    for (runtime, shape, count), rows in grouped(content["rows"]).items():
        limit = crossover(rows)
        ratios = [f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in rows]
        cells = (runtime, shape, str(count), f"{rows[0]['dense_ms']:.3g}", "none" if limit is None else f"{limit:.0%}")
        lines.append("| " + " | ".join((*cells, *ratios)) + " |")
    return "\n".join(lines)


def picture(content: dict[str, Any], out: Path) -> None:
    """A panel for every runtime: the ratio against the density, a line a size and number of rows."""
    figure, panels = new_figure(8.4, 1.2 + 1.9 * len(RUNTIMES), LIGHT, rows=len(RUNTIMES))
    found = grouped(content["rows"])
    for axes, runtime in zip(panels, RUNTIMES, strict=True):
        for number, (outputs, inputs) in enumerate(SHAPES):
            for count, style in zip(ROWS, (":", "--", "-"), strict=True):
                rows, colour = found[runtime, f"{outputs}x{inputs}", count], _COLOURS[number]
                at, label = [row["density"] for row in rows], f"{outputs}x{inputs}, {count} rows"
                axes.plot(at, [row["ratio"] for row in rows], style, color=colour, linewidth=1.3, label=label)
                ends = [row["low"] for row in rows], [row["high"] for row in rows]
                axes.fill_between(at, *ends, color=colour, alpha=0.12, linewidth=0)
        axes.axhline(1, color=LIGHT.ink, linewidth=0.8)
        axes.set(xscale="log", yscale="log", ylabel="dense / sparse", ylim=(0.04, 6))
        axes.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axes.set_xticks(DENSITIES, [f"{density:.0%}" for density in DENSITIES])
        axes.minorticks_off()
        axes.set_title(runtime, fontsize=8.5, color=LIGHT.ink, loc="left")
    legend(panels[0], LIGHT, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.08))
    panels[-1].set_xlabel("share of weights that are not zero")
    save(figure, out)


def main() -> None:
    """Measure, unless --table or --picture read what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("sparse-runtimes.json"))
    parser.add_argument("--executorch", action="store_true", help="a network of 1x1 convolutions on XNNPACK instead")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", message="Sparse (CSR|BSR) tensor support")
    torch.set_num_threads(1)
    if asked.executorch:
        print(executorch_table(asked.rounds))
        return
    if not (asked.table or asked.picture):
        versions = {name: version(name) for name in ("torch", "openvino", "onnxruntime")}
        content = {"processor": cpu_model(), "machine": platform.machine(), "versions": versions, "rows": []}
        with torch.no_grad():
            for row in cells(asked.rounds):
                content["rows"].append(row)
                print(json.dumps(row), flush=True)
        asked.out.write_text(json.dumps(content, indent=1) + "\n")
        return
    content = json.loads(asked.out.read_text())
    if asked.table:
        print(f"{content['processor']}, one thread, " + ", ".join(f"{k} {v}" for k, v in content["versions"].items()))
        print(table(content))
    if asked.picture:
        picture(content, asked.picture)


if __name__ == "__main__":
    main()
