"""Searches, baselines and peers on the same dense network: test accuracy at equal measured latency and fine-tuning.

    python benchmarks/grid.py --out grid --arms optuna,random,exact,uniform,uniform-grid,torch-pruning-l1
    python benchmarks/grid.py --out grid --report          # the tables of what has been run so far

One cell (arm, budget, seed) after the other leaves a JSON file in the folder, so that a run goes on where it was
stopped. All cells start from the shipped ResNet-20 of Fashion-MNIST, are fine-tuned for the same epochs by the same
recipe on the same part of the training images, and are measured on the target beside the dense network.

Arms: the agents of autoprune on the target's own grid of widths, with their defaults; `uniform-grid` (one ratio, the
target's grid), `uniform` (one ratio, any width), and Torch-Pruning's global pruning, whose ratio is bisected until its
measured latency meets the budget (`torch-pruning-l1`, `torch-pruning-taylor`; `pip install torch-pruning`). NVIDIA
ModelOpt's FastNAS is bisected alike by its share of multiply-accumulates (`fastnas`; `pip install nvidia-modelopt
torchprofile==0.0.4`); its widths are multiples of four, and its score is accuracy on the search split.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.data import DataSet, load
from autoprune.evaluation import accuracy
from autoprune.hardware import TimingPlan, get_target, measure
from autoprune.models import build
from autoprune.models.weights import load_weights
from autoprune.reports.grid import difference
from autoprune.run.settings import RecipeSettings
from autoprune.training import Trainer
from autoprune.training.epochs import InEpochs
from autoprune.training.recipe import Recipe

SHIPPED = Path(autoprune.__file__).parent / "models" / "weights" / "resnet20_fashion_mnist.safetensors"
BISECTIONS = 7
FASTNAS_MULTIPLE = 4


@dataclass(frozen=True)
class Setting:
    """What all cells share.

    Attributes:
        images: Training images that are used, the same for all.
        epochs: Of the fine-tuning.
        episodes: Of a search.
    """

    target: str
    images: int
    epochs: int
    episodes: int
    tables: Path


@dataclass(frozen=True)
class Cell:
    """One arm at one budget with one seed."""

    arm: str
    budget: int
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.arm}-{self.budget}-{self.seed}"


def dense_network() -> nn.Module:
    """The shipped ResNet-20."""
    model = build("resnet20", in_channels=1, classes=10, image_size=28, seed=0)
    load_weights(model, SHIPPED)
    return model.eval()


def images(setting: Setting) -> DataSet:
    """Fashion-MNIST, of whose training split only a part is used."""
    data = load("fashion-mnist", None)
    train: Any = data.train
    chosen = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))[: setting.images]
    train.images, train.labels = train.images[chosen], train.labels[chosen]
    return data


def searched(cell: Cell, setting: Setting, data: DataSet) -> dict[str, Any]:
    """A whole job of autoprune."""
    agent = "uniform" if cell.arm.startswith("uniform") else cell.arm
    with tempfile.TemporaryDirectory() as folder:
        result = autoprune.compress(
            dense_network(),
            train=data.train,
            search=data.search,
            test=data.test,
            example_input=data.example,
            latency=f"{cell.budget}%",
            target=setting.target,
            agent=agent,
            granularity=1 if cell.arm == "uniform" else None,
            episodes=setting.episodes,
            finetune_epochs=setting.epochs,
            seed=cell.seed,
            table=setting.tables / f"{setting.target}.json",
            run=Path(folder) / "run",
        )
    report = result.report
    return {
        "test": report["finetuned"]["accuracy"],
        "share": report["budget"]["measured"] / report["dense"]["latency_ms"],
        "macs": report["finetuned"]["flops"] / report["dense"]["flops"],
    }


def by_peer(cell: Cell, setting: Setting, data: DataSet) -> dict[str, Any]:
    """Another project's pruning, at the largest network that meets the budget as measured."""
    dense, (low, high) = dense_network(), (0.0, 0.95)
    best: tuple[nn.Module, float] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(BISECTIONS):
            ratio = (low + high) / 2
            small = PEERS[cell.arm](cell.arm, ratio, data, Path(folder))
            share = _share(dense, small, data, setting)
            if share <= cell.budget / 100:
                best, high = (small, share), ratio
            else:
                low = ratio
    if best is None:
        raise SystemExit(f"{cell.name}: no ratio meets the budget")
    small, share = best
    recipe = Recipe.chosen(RecipeSettings(), attention=False).finetune(setting.epochs, cell.seed)
    batches = InEpochs(data.train, first=(cell.seed + 1) * 100_003)  # as a job of autoprune takes them
    Trainer(small, batches, recipe, teacher=dense).run()
    macs = autoprune.flops(small, data.example) / autoprune.flops(dense, data.example)
    return {"test": accuracy(small, data.test, bf16=False), "share": share, "macs": macs}


def _torch_pruning(arm: str, ratio: float, data: DataSet, folder: Path) -> nn.Module:
    """Global pruning; `ratio` is the share of channels that go."""
    peer, model = importlib.import_module("torch_pruning"), dense_network()
    importance = peer.importance.GroupTaylorImportance() if arm.endswith("taylor") else None
    pruner = peer.pruner.MetaPruner(
        model,
        data.example,
        importance=importance or peer.importance.GroupMagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        ignored_layers=[m for m in model.modules() if isinstance(m, nn.Linear)],
    )
    if importance is not None:
        for batch, labels in data.calibration:
            functional.cross_entropy(model(batch), labels).backward()
    pruner.step()
    model.zero_grad(set_to_none=True)
    return model.eval()


def _fastnas(arm: str, ratio: float, data: DataSet, folder: Path) -> nn.Module:
    """FastNAS; `ratio` is the share of multiply-accumulates that go. Its sensitivity map is made once, in `folder`."""
    peer = importlib.import_module("modelopt.torch.prune")
    rules = importlib.import_module("modelopt.torch.prune.fastnas").FastNASConfig().model_dump()
    for kind in ("nn.Conv2d", "nn.BatchNorm2d"):  # the default, multiples of 32, leaves this network no choice
        for rule in rules[kind].values():
            rule["channel_divisor" if "Conv" in kind else "feature_divisor"] = FASTNAS_MULTIPLE
    small, _ = peer.prune(
        dense_network(),
        mode=[("fastnas", rules)],
        constraints={"flops": f"{100 * (1 - ratio):.2f}%"},
        dummy_input=data.example,
        config={
            "data_loader": data.calibration,
            "score_func": lambda model: accuracy(model, data.search, bf16=False),
            "checkpoint": str(folder / "sensitivity.pth"),
        },
    )
    return small.eval()


PEERS: dict[str, Callable[[str, float, DataSet, Path], nn.Module]] = {
    "torch-pruning-l1": _torch_pruning,
    "torch-pruning-taylor": _torch_pruning,
    "fastnas": _fastnas,
}


def _share(dense: nn.Module, small: nn.Module, data: DataSet, setting: Setting) -> float:
    whole, own = measure([dense, small], data.example, get_target(setting.target), TimingPlan(passes=2))
    return float(own.ms / whole.ms)


def arm_of(name: str) -> Callable[[Cell, Setting, DataSet], dict[str, Any]]:
    """What runs a cell."""
    return by_peer if name in PEERS else searched


def run(cells: list[Cell], setting: Setting, folder: Path) -> None:
    """Run the cells that have no file yet."""
    for cell in cells:
        path = folder / f"{cell.name}.json"
        if path.exists():
            continue
        data, start = images(setting), time.perf_counter()
        found = arm_of(cell.arm)(cell, setting, data)
        row = {"arm": cell.arm, "budget": cell.budget, "seed": cell.seed, **found}
        row |= {"seconds": round(time.perf_counter() - start, 1), "images": setting.images, "epochs": setting.epochs}
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(row) + "\n")
        beside.replace(path)
        print(json.dumps(row), flush=True)


def tables(folder: Path) -> Iterator[str]:
    """Markdown, a table a budget: means over seeds, and the paired difference to the first arm."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for budget in sorted({row["budget"] for row in rows}, reverse=True):
        here = [row for row in rows if row["budget"] == budget]
        best = max({row["arm"] for row in here}, key=lambda arm: _mean(here, arm, "test"))
        yield f"\n{budget} % of the dense latency\n\n"
        yield "| arm | seeds | test accuracy, % | of dense latency | of dense MACs | minutes | minus the best |\n"
        yield "|---|---|---|---|---|---|---|\n"
        for arm in sorted({row["arm"] for row in here}, key=lambda arm: -_mean(here, arm, "test")):
            own = [100 * row["test"] for row in here if row["arm"] == arm]
            spread = f" ± {statistics.stdev(own):.2f}" if len(own) > 1 else ""
            share, macs = (f"{_mean(here, arm, key):.0%}" for key in ("share", "macs"))
            minutes = f"{_mean(here, arm, 'seconds') / 60:.1f}"
            paired = "" if arm == best else _paired(here, arm, best)
            mean = f"{statistics.mean(own):.2f}{spread}"
            yield f"| {arm} | {len(own)} | {mean} | {share} | {macs} | {minutes} | {paired} |\n"


def _mean(rows: list[dict[str, Any]], arm: str, key: str) -> float:
    return statistics.mean(row[key] for row in rows if row["arm"] == arm)


def _paired(rows: list[dict[str, Any]], arm: str, other: str) -> str:
    """Mean difference over common seeds with a 95 % t-interval."""
    results = {each: {row["seed"]: 100 * row["test"] for row in rows if row["arm"] == each} for each in (arm, other)}
    found = difference(results[arm], results[other])
    if found is None:
        return ""
    return f"{found.mean:+.2f}" if found.half is None else f"{found.mean:+.2f} ± {found.half:.2f}"


def main() -> None:
    """Run cells, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells' files")
    parser.add_argument("--report", action="store_true", help="print the tables of what is there")
    parser.add_argument("--arms", default="optuna,random,uniform,uniform-grid,torch-pruning-l1,torch-pruning-taylor")
    parser.add_argument("--budgets", default="50,30", help="per cent of the dense latency")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--images", type=int, default=10_000, help="training images that are used")
    parser.add_argument("--epochs", type=int, default=3, help="of fine-tuning")
    parser.add_argument("--episodes", type=int, default=100, help="of a search")
    parser.add_argument("--threads", type=int, default=2, help="that torch trains with")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(asked.threads)
    if not asked.report:
        numbers = [[int(part) for part in text.split(",")] for text in (asked.seeds, asked.budgets)]
        cells = [
            Cell(arm, budget, seed) for seed in numbers[0] for budget in numbers[1] for arm in asked.arms.split(",")
        ]
        folder = asked.out / "tables"
        folder.mkdir(exist_ok=True)
        run(cells, Setting(asked.target, asked.images, asked.epochs, asked.episodes, folder), asked.out)
    print("".join(tables(asked.out)), end="")


if __name__ == "__main__":
    main()
