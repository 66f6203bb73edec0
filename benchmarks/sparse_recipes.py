"""What N:M sparsity costs, by pattern, recipe and criterion: a ResNet-20 and a small ViT on a part of Fashion-MNIST.

    python benchmarks/sparse_recipes.py --out sparse-recipes
    python benchmarks/sparse_recipes.py --out sparse-recipes --table --picture sparse-recipes.svg

Everything here learns from the same --images images of the training split and is scored on the first --test images of
the test split, which nothing is chosen by. The ResNet-20 starts from the weights that ship (all training images, 18
epochs); the ViT is trained here, from weights that a seed draws: transformers' ViTForImageClassification with 4 layers
of 64 features and 4 heads, and patches of 7 pixels. `dense, trained on` and every retrained network go on from the
dense one for the same E epochs (4 of the ResNet, 8 of the ViT), in the order of images that the seed gives, so that all
have learned as much as the control that they are compared with. SR-STE does so for the ResNet; for the ViT it starts
from scratch and has 2 E epochs, as many as the dense training and the control together. Masks lie on the same weights
in all cells: those that can have 2:4 (the layer that reads the grey image cannot). One-shot networks are not trained;
BatchNorm's statistics are re-estimated. Those of the ResNet are the same under every seed, and made once.

Every cell is a file of its own in --out, so that the same command goes on where it was ended; --only and --networks
divide the work. --table prints what there is: mean and sample standard deviation over the seeds, and the mean
difference to the control of the same seeds with its 95 % t-interval.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune import data, models
from autoprune.criteria.registry import criterion_of
from autoprune.criteria.statistics import gathered
from autoprune.data.batches import TensorBatches
from autoprune.errors import AutopruneError
from autoprune.evaluation import accuracy
from autoprune.foundations.seeding import seeded
from autoprune.graph import Analysis, analyse
from autoprune.masks.assigned import Assigned, faults_of, masks_of
from autoprune.masks.n_of_m import NofM
from autoprune.masks.parsing import pattern_of
from autoprune.models import load_weights, save_weights
from autoprune.models.copying import duplicate
from autoprune.models.inputs.example import as_example
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.reconstruction.layerwise import prune_layers
from autoprune.reports.grid import difference
from autoprune.techniques.sparsity.reorder import reorder
from autoprune.techniques.sparsity.saliency import saliencies_of
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks, TrainingConstraint
from autoprune.training.sparse.sr_ste import StraightThrough

CONTROL = "dense, trained on"


@dataclass(frozen=True)
class Network:
    """A network of the benchmark.

    Attributes:
        make: Builds it with fresh weights.
        settings: Of each training.
        weights: File of dense weights; None trains the dense network first.
    """

    make: Callable[[], nn.Module]
    settings: TrainSettings
    weights: Path | None = None


def vit() -> nn.Module:
    """The small ViT."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128, image_size=28, patch_size=7,
        num_channels=1, num_labels=10, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return ViTForImageClassification(config)


SHIPPED = Path(models.__file__).parent / "weights" / "resnet20_fashion_mnist.safetensors"

NETWORKS: dict[str, Network] = {
    "resnet20": Network(
        lambda: models.build("resnet20", in_channels=1), TrainSettings(epochs=4, lr=0.02, warmup_epochs=0.5), SHIPPED
    ),
    "vit": Network(
        vit,
        TrainSettings(epochs=8, optimizer="adamw", lr=1e-3, weight_decay=0.01, clip=1.0, bf16=False),
    ),
}


@dataclass(frozen=True)
class Cell:
    """One way to a sparse network.

    Attributes:
        pattern: What it keeps; None of a dense network.
        recipe: `dense`, `one-shot`, `asp` or `sr-ste`.
        criterion: What chooses the masks; `sparsegpt` and `random` beside the criteria of autoprune.
        permuted: Whether input channels are reordered first.
    """

    pattern: str | None
    recipe: str
    criterion: str = "l1"
    permuted: bool = False


CELLS: dict[str, Cell] = {
    "dense": Cell(None, "dense"),
    CONTROL: Cell(None, "asp"),
    "2:4, one-shot": Cell("2:4", "one-shot"),
    "2:4, one-shot, permuted": Cell("2:4", "one-shot", permuted=True),
    "2:4, one-shot, taylor": Cell("2:4", "one-shot", "taylor"),
    "2:4, one-shot, fisher": Cell("2:4", "one-shot", "fisher"),
    "2:4, one-shot, wanda": Cell("2:4", "one-shot", "wanda"),
    "2:4, one-shot, sparsegpt": Cell("2:4", "one-shot", "sparsegpt"),
    "2:4, one-shot, random": Cell("2:4", "one-shot", "random"),
    "4:8, one-shot": Cell("4:8", "one-shot"),
    "unstructured 50 %, one-shot": Cell("unstructured:0.5", "one-shot"),
    "1:4, one-shot": Cell("1:4", "one-shot"),
    "2:8, one-shot": Cell("2:8", "one-shot"),
    "unstructured 75 %, one-shot": Cell("unstructured:0.75", "one-shot"),
    "2:4, ASP": Cell("2:4", "asp"),
    "2:4, ASP, permuted": Cell("2:4", "asp", permuted=True),
    "2:4, random masks, trained": Cell("2:4", "asp", "random"),
    "2:4, SR-STE": Cell("2:4", "sr-ste"),
    "4:8, ASP": Cell("4:8", "asp"),
    "unstructured 50 %, ASP": Cell("unstructured:0.5", "asp"),
    "1:4, ASP": Cell("1:4", "asp"),
    "2:8, ASP": Cell("2:8", "asp"),
    "unstructured 75 %, ASP": Cell("unstructured:0.75", "asp"),
}
"""By what the table calls them, in its order."""


def main() -> int:
    """Run what is missing, or print the table; the process's exit status."""
    chosen = _parsed()
    torch.set_num_threads(chosen.threads)
    try:
        if chosen.table:
            print(table(results_in(chosen.out)))
        else:
            _run(chosen)
        if chosen.picture:
            draw(results_in(chosen.out), chosen.picture)
    except AutopruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="with commas between them")
    parser.add_argument("--images", type=int, default=3000, help="of the training split, the same for all")
    parser.add_argument("--test", type=int, default=4000, help="of the test split")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="cells, with semicolons between them; default: all")
    parser.add_argument("--data-dir", type=Path, help="folder of the data set's files")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("sparse-recipes"), help="folder of results")
    parser.add_argument("--table", action="store_true", help="print the results that there are")
    parser.add_argument("--picture", type=Path, help="draw the results that there are: .png or .svg")
    chosen = parser.parse_args()
    for kind, given, known in (
        ("cell", (chosen.only or "").split(";"), CELLS),
        ("network", chosen.networks.split(","), NETWORKS),
    ):
        unknown = [name for name in given if name and name not in known]
        if unknown:
            parser.error(f"there is no {kind} {unknown[0]!r}; there are {'; '.join(known)}")
    return chosen


def _run(chosen: argparse.Namespace) -> None:
    chosen.out.mkdir(parents=True, exist_ok=True)
    cells = [name for name in (chosen.only or "").split(";") if name] or list(CELLS)
    for seed in range(chosen.seeds):
        for network in chosen.networks.split(","):
            wanted = [name for name in cells if seed == 0 or not _same_every_time(NETWORKS[network], CELLS[name])]
            missing = [name for name in wanted if not _file(chosen.out, network, name, seed).exists()]
            if not missing:
                continue
            bench = Bench(chosen, network, seed)
            for name in missing:
                result = bench.cell(name)
                _write(_file(chosen.out, network, name, seed), result)
                seconds = result["seconds"]
                print(f"{network}, seed {seed}, {name}: {result['accuracy']:.4f} ({seconds:.0f} CPU s)", flush=True)


def _same_every_time(network: Network, cell: Cell) -> bool:
    """Whether a cell has nothing that a seed would change."""
    return network.weights is not None and cell.recipe in ("dense", "one-shot") and cell.criterion != "random"


def _file(folder: Path, network: str, cell: str, seed: int) -> Path:
    slug = "".join(c if c.isalnum() else "-" for c in cell)
    return folder / f"{network}-{slug}-{seed}.json"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


class Bench:
    """One network under one seed: its data, its dense weights, its cells.

    Args:
        chosen: The command's options.
        network: Its name.
        seed: Of first weights, and of the images' order.
    """

    def __init__(self, chosen: argparse.Namespace, network: str, seed: int) -> None:
        self.chosen, self.name, self.seed = chosen, network, seed
        self.network = NETWORKS[network]
        whole = data.load("fashion-mnist", chosen.data_dir, batch_size=64, seed=seed)
        train, test = whole.train, whole.test
        assert isinstance(train, TensorBatches) and isinstance(test, TensorBatches)
        part = slice(0, chosen.images)
        self.train = TensorBatches(
            train.images[part], train.labels[part], 64, train.normalise,
            shuffle=True, augment=train.augment, seed=seed,
        )  # fmt: skip
        self.test = TensorBatches(test.images[: chosen.test], test.labels[: chosen.test], 250, test.normalise)
        self.calibration, self.example = whole.calibration, whole.example
        with seeded(seed):
            self.fresh = self.network.make()
        self.dense = self._dense()
        self.analysis: Analysis = analyse(self.dense, self.example, blocks=False)
        weights = weights_of(self.analysis).weights
        half = NofM(2, 4)
        self.weights = {n: w for n, w in weights.items() if Assigned(w.planes, half).why_not(w.sizes) is None}

    def cell(self, name: str) -> dict[str, Any]:
        """What one way comes to."""
        cell, start = CELLS[name], time.process_time()
        network, notes = self._network(cell)
        zeros = sum(int((p == 0).sum()) for n, p in network.named_parameters() if n in self.weights)
        return {
            "cell": name,
            "network": self.name,
            "seed": self.seed,
            "accuracy": accuracy(network, self.test, bf16=False),
            "zeros": zeros / sum(p.numel() for n, p in network.named_parameters() if n in self.weights),
            **notes,
            "epochs": self.network.settings.epochs,
            "images": self.chosen.images,
            "test_images": self.chosen.test,
            "seconds": round(time.process_time() - start, 1),
            "torch": torch.__version__,
        }

    def _dense(self) -> nn.Module:
        """The dense network of the seed, trained once."""
        path = self.network.weights or self.chosen.out / f"{self.name}-dense-{self.seed}.safetensors"
        dense = duplicate(self.fresh)
        if path.exists():
            load_weights(dense, path)
        else:
            self._trained(dense, self.network.settings, None)
            save_weights(dense.state_dict(), path)
        return dense.eval()

    def _trained(self, network: nn.Module, settings: TrainSettings, constraint: TrainingConstraint | None) -> nn.Module:
        Trainer(network, self.train, replace(settings, seed=self.seed), constraint=constraint).run()
        return network.eval()

    def _network(self, cell: Cell) -> tuple[nn.Module, dict[str, Any]]:
        settings = self.network.settings
        if cell.recipe == "dense":
            return self.dense, {}
        if cell.pattern is None:
            return self._trained(duplicate(self.dense), settings, None), {}
        assigned = {name: Assigned(w.planes, pattern_of(cell.pattern)) for name, w in self.weights.items()}
        if cell.recipe == "sr-ste":
            return self._checked(self._sr_ste(assigned), assigned), {}
        network, masks, notes = self._masked(cell, assigned)
        if cell.recipe == "asp":
            self._trained(network, settings, Masks(masks))
        return self._checked(network, assigned), notes

    def _sr_ste(self, assigned: Mapping[str, Assigned]) -> nn.Module:
        """From scratch where the dense network was trained here, else from its weights."""
        settings = self.network.settings
        network = duplicate(self.fresh if self.network.weights is None else self.dense)
        epochs = settings.epochs * (2 if self.network.weights is None else 1)
        return self._trained(network, replace(settings, epochs=epochs), StraightThrough(network, assigned))

    def _masked(
        self, cell: Cell, assigned: Mapping[str, Assigned]
    ) -> tuple[nn.Module, Mapping[str, Tensor], dict[str, Any]]:
        """The dense network under its masks, BatchNorm re-estimated; and the gain of the order."""
        network, notes = duplicate(self.dense), {}
        if cell.permuted:
            found = reorder(network, self.analysis, self.example, NofM(2, 4), seconds=10.0, weights=list(assigned))
            network, notes = found.model, {"gain": found.gain, "complete": found.complete}
        if cell.criterion == "sparsegpt":
            images = torch.cat([batch[0] for batch in self.calibration])
            masks = prune_layers(network, as_example(images), assigned).masks
        else:
            masks = masks_of(assigned, self._saliencies(network, cell.criterion, assigned))
            with torch.no_grad():
                for name, mask in masks.items():
                    network.get_parameter(name).masked_fill_(~mask, 0)
        reestimate_batch_norm(network, self.calibration)
        return network.eval(), masks, notes

    def _saliencies(self, network: nn.Module, criterion: str, names: Mapping[str, Assigned]) -> Mapping[str, Tensor]:
        if criterion == "random":
            draws = torch.Generator().manual_seed(self.seed)
            return {name: torch.rand(network.get_parameter(name).shape, generator=draws) for name in names}
        judge = criterion_of(criterion)
        return saliencies_of(network, names, judge, gathered(network, self.calibration, judge.needs))

    @staticmethod
    def _checked(network: nn.Module, assigned: Mapping[str, Assigned]) -> nn.Module:
        """The network, if it keeps its pattern; a benchmark of another pattern would say nothing."""
        faults = faults_of(assigned, {name: network.get_parameter(name).detach() for name in assigned})
        if faults:
            raise SystemExit(f"a network breaks its pattern: {faults}")
        return network


Results = Mapping[str, Mapping[str, Mapping[int, Mapping[str, Any]]]]
"""Network -> cell -> seed -> what the cell came to."""


def results_in(folder: Path) -> Results:
    """The results in a folder."""
    found: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        found.setdefault(result["network"], {}).setdefault(result["cell"], {})[result["seed"]] = result
    return found


def table(results: Results) -> str:
    """Markdown: a row for every cell, two columns for every network."""
    names = [name for name in NETWORKS if name in results]
    heads = ["cell", "zeros, %", *(f"{name}, %{end}" for name in names for end in ("", ", against the control"))]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for cell in CELLS:
        if not any(cell in results[name] for name in names):
            continue
        zeros = [100 * one["zeros"] for name in names for one in results[name].get(cell, {}).values()]
        row = [cell, f"{statistics.mean(zeros):.0f}"]
        for name in names:
            row += [_spread(points(results, name, cell)), _against(results, name, cell)]
        lines.append("| " + " | ".join(row) + " |")
    lines += [_gain(results, name) for name in names]
    return "\n".join(lines)


def points(results: Results, network: str, cell: str) -> dict[int, float]:
    """Accuracy in per cent by seed."""
    return {seed: 100 * one["accuracy"] for seed, one in results[network].get(cell, {}).items()}


def _spread(values: Mapping[int, float]) -> str:
    if not values:
        return ""
    mean = f"{statistics.mean(values.values()):.2f}"
    return mean if len(values) < 2 else f"{mean} \u00b1 {statistics.stdev(values.values()):.2f}"


def _against(results: Results, network: str, cell: str) -> str:
    """The difference by seed; nothing of cells that were made once, which have seen no more images than `dense`."""
    found = difference(points(results, network, cell), points(results, network, CONTROL))
    if found is None or cell == CONTROL or CELLS[cell].recipe not in ("asp", "sr-ste"):
        return ""
    return f"{found.mean:+.2f}" + ("" if found.half is None else f" \u00b1 {found.half:.2f}")


def _gain(results: Results, network: str) -> str:
    found = results[network].get("2:4, one-shot, permuted", {}).values()
    gains = [100 * one["gain"] for one in found]
    return f"\n{network}: the order keeps {statistics.mean(gains):.2f} % more magnitude in 2:4" if gains else ""


def draw(results: Results, out: Path) -> None:
    """Each cell's seeds as dots, the mean as a line; a panel a network."""
    from autoprune.reports.figures._matplotlib import LIGHT, new_figure, save

    names = [name for name in NETWORKS if name in results]
    figure, axes = new_figure(9.5, 5.6, LIGHT, columns=len(names))
    for number, (one, name) in enumerate(zip(axes, names, strict=True)):
        cells = [cell for cell in CELLS if cell in results[name]][::-1]
        for place, cell in enumerate(cells):
            values = list(points(results, name, cell).values())
            colour = LIGHT.limit if "one-shot" in cell else LIGHT.kept
            one.plot(values, [place] * len(values), "o", color=colour, markersize=4, alpha=0.6, linewidth=0)
            one.plot([statistics.mean(values)] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2)
        one.set_yticks(range(len(cells)), cells if number == 0 else [""] * len(cells))
        one.set_xlabel(f"{name}: accuracy on the test images, %")
    save(figure, out)


if __name__ == "__main__":
    sys.exit(main())
