"""What training with integers returns where plain rounding loses accuracy.

    python benchmarks/integer_training.py --model resnet20 --width 0.25 --out rows
    python benchmarks/integer_training.py --model mobilenet_v2 --width 0.25 --seeds 0 --out rows
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import autoprune
from autoprune.data import load
from autoprune.data.base import DataSet
from autoprune.data.batches import TensorBatches
from autoprune.models import build, load_weights, save_weights
from autoprune.training import Trainer, TrainSettings

_ANY_LOSS = 100.0  # percentage points: no other ranges, no layer back in float32


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
        words = (self.chosen.model, f"{self.chosen.width:g}", self.chosen.types.replace(" ", "-"), str(self.seed))
        return "_".join(words)

    def row(self) -> dict[str, Any]:
        """Test accuracy of float32 and of both files with integers."""
        data = self._data()
        model = self._trained(data)
        plain, trained = (self._integers(model, data, qat=qat) for qat in (False, True))
        figures = {name: report["quantized"]["accuracy"] for name, report in (("plain", plain), ("trained", trained))}
        return {
            "model": f"{self.chosen.model} x{self.chosen.width:g}",
            "types": plain["types"],
            "seed": self.seed,
            "float32": plain["float"]["accuracy"],
            **figures,
            "kept": trained["qat"]["kept"],
        }

    def _data(self) -> DataSet:
        """Fashion-MNIST with so many training images."""
        data, most = load("fashion-mnist", seed=self.seed), self.chosen.images
        whole = data.train
        assert isinstance(whole, TensorBatches)
        part = (whole.images[:most], whole.labels[:most], whole.batch_size, whole.normalise)
        return replace(data, train=TensorBatches(*part, shuffle=True, augment=whole.augment, seed=self.seed))

    def _trained(self, data: DataSet) -> nn.Module:
        model = build(
            self.chosen.model, in_channels=1, classes=10, image_size=28, width=self.chosen.width, seed=self.seed
        )
        path = self.chosen.out / f"{self.chosen.model}_{self.chosen.width:g}_{self.seed}.safetensors"
        if not path.exists():
            settings = TrainSettings(epochs=self.chosen.train_epochs, lr=0.1, weight_decay=5e-4, seed=self.seed)
            Trainer(model, data.train, settings).run(settings.epochs)
            save_weights(model.state_dict(), path)
        load_weights(model, path)
        return model.eval()

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
        "--width", type=float, default=0.25, help="factor on all channels: 0.25 of ResNet-20 begins with 4"
    )
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
