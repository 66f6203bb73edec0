"""Small chips as users' files, and `codesign` on a network of two convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.hardware.accelerators import load_accelerator

SHAPE = (1, 6, 6)
NAMES = ("uniform", "ratios on the fixed chip", "chip for the fixed pruning", "one after the other", "random")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )


def loader(count: int, seed: int) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *SHAPE, generator=draw)
    return DataLoader(TensorDataset(images, (images.mean((1, 2, 3)) > 0).long()), batch_size=32)


def chip(folder: Path, name: str, **changes: Any) -> str:
    """A small chip as a user's file."""
    content = load_accelerator(name).content() | {"name": f"small {name}", "search": {}} | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def small_chips(folder: Path) -> str:
    eie = load_accelerator("eie").content()
    memory = eie["memory"] | {"weights_kb_per_pe": 2, "pointers_kb_per_pe": 1}
    knobs = {"pe.count": [4, 8], "encoding.index_bits": [3, 4]}
    first = chip(folder, "eie", pe=eie["pe"] | {"count": 4}, memory=memory, search=knobs)
    systolic = load_accelerator("systolic").content()
    array = systolic["array"] | {"rows": 4, "columns": 4}
    sizes = systolic["memory"] | {"weights_kb": 8, "activations_kb": 4, "outputs_kb": 4}
    return f"{first},{chip(folder, 'systolic', array=array, memory=sizes, pattern='n:4')}"


def codesigned(folder: Path, run: str | Path | None, **settings: Any) -> autoprune.Result:
    chips = settings.pop("accelerator", None) or small_chips(folder)
    wanted = {"agent": "random", "episodes": 6, "levels": 2, "vectors": 4, "finetune_epochs": 1, "accuracy_drop": 30.0}
    return autoprune.codesign(
        settings.pop("model", None) or network(),
        train=loader(96, 1),
        search=loader(64, 2),
        test=loader(64, 3),
        example_input=torch.zeros(1, *SHAPE),
        run=run,
        **{"accelerator": chips, "area": "1mm2", "objective": "edp", **wanted, **settings},
    )
