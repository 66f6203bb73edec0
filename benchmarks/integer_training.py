"""What training with integers returns where plain rounding loses accuracy.

    python benchmarks/integer_training.py --model resnet20 --width 0.25 --out rows
    python benchmarks/integer_training.py --uneven 8 --types "U8S8 per tensor" --out rows
    python benchmarks/integer_training.py --out rows --report          # what has been run so far

A narrow network is trained on part of Fashion-MNIST's training images, from one seed after the other. `quantize` then
makes integers of every layer with settings that lose accuracy: one scale a weight (`--types`), ranges from the least to
the largest value; once without training, once with `--qat`. Accuracies are those of the ONNX files on the 10,000 test
images, in onnxruntime. What is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from subsets import with_fewer_images
from torch import nn

import autoprune
from autoprune.data import load
from autoprune.data.base import DataSet
from autoprune.models import build, load_weights, save_weights
from autoprune.training import Trainer, TrainSettings

_ANY_LOSS = 99.0  # percentage points: no other ranges, no layer back in float32


@dataclass(frozen=True)
class Case:
    """A network of one seed.

    Attributes:
        chosen: The command line.
        seed: Of weights, order and augmentation.
    """

    chosen: argparse.Namespace
    seed: int

    @property
    def name(self) -> str:
        """Names the files."""
        chosen = self.chosen
        words = (chosen.model, chosen.width, chosen.data, f"uneven{chosen.uneven:g}", chosen.types, self.seed)
        return "_".join(map(str, words)).replace(" ", "-")

    def row(self) -> dict[str, Any]:
        """Test accuracy of float32 and of both files with integers."""
        data = self._data()
        model = self._trained(data)
        plain, trained = (self._integers(model, data, qat=qat) for qat in (False, True))
        figures = {name: report["quantized"]["accuracy"] for name, report in (("plain", plain), ("trained", trained))}
        return {
            "model": f"{self.chosen.model} x{self.chosen.width:g}, {self.chosen.data}, uneven {self.chosen.uneven:g}",
            "types": plain["types"],
            "seed": self.seed,
            "float32": plain["float"]["accuracy"],
            **figures,
            "kept": trained["qat"]["kept"],
        }

    def _data(self) -> DataSet:
        """The data set with so many training images."""
        return with_fewer_images(load(self.chosen.data, seed=self.seed), self.chosen.images)

    def _trained(self, data: DataSet) -> nn.Module:
        model = build(
            self.chosen.model,
            in_channels=1,
            classes=10,
            image_size=data.shape[-1],
            width=self.chosen.width,
            seed=self.seed,
        )
        path = self.chosen.out / f"{self.chosen.model}_{self.chosen.width:g}_{self.chosen.data}_{self.seed}.safetensors"
        if not path.exists():
            settings = TrainSettings(
                epochs=self.chosen.train_epochs,
                lr=0.1,
                weight_decay=5e-4,
                seed=self.seed,
            )
            Trainer(model, data.train, settings).run(settings.epochs)
            save_weights(model.state_dict(), path)
        load_weights(model, path)
        unevenly_scaled(model.eval(), self.chosen.uneven, self.seed)
        return model

    def _integers(self, model: nn.Module, data: DataSet, *, qat: bool) -> dict[str, Any]:
        """The report of `quantize`."""
        result = autoprune.quantize(
            model,
            train=data.train,
            search=data.search,
            test=data.test,
            example_input=data.example,
            target="onnxruntime",
            types=self.chosen.types,
            scales="tensor",
            ranges="minmax",
            tolerance=_ANY_LOSS,
            qat=qat,
            finetune_epochs=self.chosen.epochs,
            seed=self.seed,
            timing="quick",
            train_threads=1,
            run=self.chosen.out / f"{self.name}{'-qat' if qat else ''}",
            resume=True,
        )
        return dict(result.report)


def unevenly_scaled(model: nn.Module, most: float, seed: int) -> None:
    """Scale the channels inside a ResNet's blocks by factors of 1 / most to most, and take it back in the next layer.

    The function stays: a ReLU between them passes a positive factor on. So are the channels of MobileNets trained on
    ImageNet (Nagel et al. 2019, figure 2), which one scale a weight does not fit.
    """
    draw = torch.Generator().manual_seed(seed)
    for block in model.modules():
        if most > 1 and {"conv1", "bn1", "conv2"} <= dict(block.named_children()).keys():
            factors = most ** (2 * torch.rand(block.bn1.num_features, generator=draw) - 1)
            with torch.no_grad():
                block.bn1.weight *= factors
                block.bn1.bias *= factors
                block.conv2.weight /= factors[:, None, None]


def report(out: Path) -> None:
    """A row for each seed, and the mean of each network."""
    rows = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    print("| network | types | seed | float32 | integers | trained with them | returned |\n" + "|---" * 7 + "|")
    for kind in dict.fromkeys((row["model"], row["types"]) for row in rows):
        own = [row for row in rows if (row["model"], row["types"]) == kind]
        names = ("float32", "plain", "trained")
        mean = {name: statistics.mean(row[name] for row in own) for name in names}
        for row in [*own, {**mean, "seed": "mean"}]:
            lost = row["float32"] - row["plain"]
            returned = f"{(row['trained'] - row['plain']) / lost:.0%}" if lost > 0 else ""
            print(f"| {' | '.join(kind)} | {row['seed']} | {' | '.join(f'{row[n]:.2%}' for n in names)} | {returned} |")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", help="of the zoo")
    parser.add_argument(
        "--width",
        type=float,
        default=0.25,
        help="factor on all channels: 0.25 of ResNet-20 begins with 4",
    )
    parser.add_argument("--data", default="fashion-mnist", help="a built-in set of one channel and ten classes")
    parser.add_argument("--uneven", type=float, default=1.0, help="factor by which inner channels of a ResNet differ")
    parser.add_argument("--types", default="U8S8 reduced per tensor")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--images", type=int, default=20_000, help="that are trained on")
    parser.add_argument("--train-epochs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1, help="of training with integers")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for seed in () if chosen.report else map(int, chosen.seeds.split(",")):
        case = Case(chosen, seed)
        path = chosen.out / f"{case.name}.json"
        if not path.exists():
            path.write_text(json.dumps(case.row(), indent=1))
            print(f"{case.name}: done", flush=True)
    report(chosen.out)


if __name__ == "__main__":
    main()
