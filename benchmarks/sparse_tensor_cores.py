"""Dense against sparse tensor cores, layer by layer and end to end: ViT's linear layers and ResNet-50's convolutions.

    python benchmarks/sparse_tensor_cores.py --target cuda@f16 --out sparse-tensor-cores.json
    python benchmarks/sparse_tensor_cores.py --out sparse-tensor-cores.json --table

Each layer has a random 2:4 weight and is timed in pairs, dense and sparse in turn, at several batch sizes. The timed
call of a convolution unfolds its image, too. End to end is a ViT-B/16 of transformers with random 2:4 weights: dense,
every layer sparse, and layer by layer as measured. Needs a GPU of compute capability 8.0 or later, and ends with exit
code 4 without one. Results are kept as they come, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import AutopruneError
from autoprune.hardware import Layer, Protocol, Target, get_target
from autoprune.hardware.sparse_kernels.choice import chosen_layers
from autoprune.hardware.sparse_kernels.conversion import gpu_here
from autoprune.hardware.sparse_kernels.deployment import deploy
from autoprune.masks.assigned import Assigned
from autoprune.masks.compressed import TWO_OF_FOUR
from autoprune.masks.planes import PLAIN

BATCHES = (1, 8, 64, 256)  # images
_TOKENS = 197  # of an image in ViT-B/16


def layers_at(batch: int) -> dict[str, Layer]:
    """Name -> layer at a batch of so many images."""
    rows = batch * _TOKENS
    linear = {"qkv": (768, 2304), "projection": (768, 768), "fc1": (768, 3072), "fc2": (3072, 768)}
    found = {f"ViT-B {name}": Layer("linear", *sizes, batch=rows) for name, sizes in linear.items()}
    for size, width in ((56, 64), (28, 128), (14, 256), (7, 512)):
        for kernel in (1, 3):
            outputs = 4 * width if kernel == 1 else width
            sizes, both = (size, size), (kernel // 2, kernel // 2)
            found[f"ResNet-50 {kernel}x{kernel} {size}x{size}"] = Layer(
                "conv", width, outputs, batch, sizes, sizes, (kernel, kernel), (1, 1), both, (1, 1)
            )
    return found


def layer_results(target: Target, batch: int, repetitions: int) -> list[dict[str, Any]]:
    """A row for each layer at one batch."""
    choices = chosen_layers(layers_at(batch), target, gpu_here, Protocol.entries(), repetitions)
    return [{"batch": batch, **choice.to_json()} for choice in choices]


def end_to_end(target: Target, batch: int) -> dict[str, Any]:
    """Milliseconds of ViT-B/16: dense, sparse, chosen; and which was the fastest."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig()).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(Assigned(PLAIN, TWO_OF_FOUR).mask(module.weight.abs()))
    found = deploy(model, torch.randn(batch, 3, 224, 224), target)
    sparse = sum(layer.chosen == "sparse" for layer in found.layers)
    return {"batch": batch, "runs": found.runs, "sparse_layers": sparse, "latency_ms": dict(found.latency_ms)}


def table(content: dict[str, Any]) -> str:
    """Both tables, in Markdown."""
    lines = [
        f"Measured on {content['device']}.",
        "",
        "| layer | batch | dense, ms | sparse, ms | sparse / dense | runs |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for row in content["layers"]:
        figures = [row["latency_dense_ms"], row["latency_sparse_ms"], row["ratio"] and row["ratio"]["median"]]
        shown = " | ".join("-" if figure is None else f"{figure:.3f}" for figure in figures)
        lines.append(f"| {row['name']} | {row['batch']} | {shown} | {row['chosen']} |")
    lines += [
        "",
        "| ViT-B/16, batch | dense, ms | all sparse, ms | chosen, ms | sparse layers | fastest |",
        "|---|---|---|---|---|---|",
    ]
    for row in content["networks"]:
        ms = [row["latency_ms"].get(name) for name in ("dense", "sparse", "chosen")]
        shown = " | ".join("-" if each is None else f"{each:.3f}" for each in ms)
        lines.append(f"| {row['batch']} | {shown} | {row['sparse_layers']} | {row['runs']} |")
    return "\n".join(lines)


def measure(target: Target, out: Path, repetitions: int) -> dict[str, Any]:
    """Measure whatever the file does not hold yet."""
    target.require()
    device = ", ".join(f"{name} {value}" for name, value in target.versions().items())
    content: dict[str, Any] = {"device": device, "target": target.spec, "layers": [], "networks": []}
    if out.exists():
        content = json.loads(out.read_text(encoding="utf-8"))
    for batch in BATCHES:
        if all(row["batch"] != batch for row in content["layers"]):
            content["layers"] += layer_results(target, batch, repetitions)
            out.write_text(json.dumps(content, indent=1), encoding="utf-8")
        if all(row["batch"] != batch for row in content["networks"]):
            content["networks"].append(end_to_end(target, batch))
            out.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return content


def main() -> None:
    """Measure, or print the tables of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="cuda@f16")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="print the tables of --out, measure nothing")
    asked = parser.parse_args()
    if asked.table:
        print(table(json.loads(asked.out.read_text(encoding="utf-8"))))
        return
    try:
        print(table(measure(get_target(asked.target), asked.out, asked.repetitions)))
    except AutopruneError as error:
        print(f"sparse_tensor_cores: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
