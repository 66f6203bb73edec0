"""What an analysis of a full-size network takes: CPU seconds, and peak memory against the size of its weights.

    python -m venv /tmp/public && /tmp/public/bin/pip install -c constraints.txt -e .
    /tmp/public/bin/pip install --no-deps -r benchmarks/public_networks.txt
    OMP_NUM_THREADS=1 /tmp/public/bin/python benchmarks/full_size.py        # --only resnet50 runs one

Random weights, one thread, each network in a process of its own. Residual branches are left out, as in a search of
widths; `--blocks` proves them, too. The table goes to standard output.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from autoprune.graph import analyse

_MIB = 2**20


def _timm(name: str) -> tuple[nn.Module, torch.Tensor]:
    return importlib.import_module("timm").create_model(name), torch.randn(1, 3, 224, 224)


def _yolo(name: str) -> tuple[nn.Module, torch.Tensor]:
    model = importlib.import_module("ultralytics.nn.tasks").DetectionModel(f"{name}.yaml", verbose=False)
    return model, torch.randn(1, 3, 640, 640)


def _llama(layers: int, width: int) -> tuple[nn.Module, torch.Tensor]:
    """A language model of Llama's form, with groups of four queries for each key."""
    transformers = importlib.import_module("transformers")
    config = transformers.LlamaConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 256,
        vocab_size=32_000,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return transformers.LlamaForCausalLM(config), torch.randint(32_000, (1, 64))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "resnet50": lambda: _timm("resnet50"),
    "vit_base_patch16_224": lambda: _timm("vit_base_patch16_224"),
    "yolov8s": lambda: _yolo("yolov8s"),
    "llama_300m": lambda: _llama(16, 1024),
    "llama_1b": lambda: _llama(16, 2048),
}


def peak_mib() -> float:
    """Peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


def one(name: str, blocks: bool) -> str:
    """The table's row of one network."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, example = NETWORKS[name]()
    weights = sum(p.numel() * p.element_size() for p in model.eval().parameters()) / _MIB
    before, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
    analysis = analyse(model, example, blocks=blocks)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    cells = (
        name,
        "x".join(map(str, example.shape)),
        f"{len(analysis.groups)} + {len(analysis.blocks)}",
        f"{cpu:.1f}",
        f"{wall:.1f}",
        f"{weights:.0f}",
        f"{peak_mib() - before:.0f}",
        f"{os.getloadavg()[0]:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the networks one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks with this in their names")
    parser.add_argument("--blocks", action="store_true", help="prove residual branches, too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(one(given.one, given.blocks))
        return
    print("| network | input | groups + blocks | CPU s | wall s | weights MiB | memory added MiB | load |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in (name for name in NETWORKS if given.only in name):
        command = [sys.executable, __file__, "--one", name, *(["--blocks"] if given.blocks else [])]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
