"""Trains a dense network of the zoo and saves its weights: how the weights that ship were made.

    python benchmarks/train_dense.py --model resnet20 --data fashion-mnist --epochs 18 --threads 1 \
        --out autoprune/models/weights/resnet20_fashion_mnist.safetensors

Every epoch is scored on the search split; the test split is touched once, at the end, in float32. The last epoch's
weights are saved, whatever the search split says, so that they are no choice made on it. The figures are printed as one
line of JSON, and written beside the weights (suffix .json) unless --no-json is given.
With --state FILE the training is saved after every epoch, and goes on from there when the command is given again. On a
machine that is busy with other work --threads 1 is the fastest: threads then wait for each other.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

import torch

from autoprune import data, models
from autoprune.errors import AutopruneError
from autoprune.evaluation import accuracy
from autoprune.training import EpochResult, Trainer, TrainSettings


def main() -> int:
    """Trains, saves, prints; the process's exit status."""
    options = _parsed()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        figures = _trained(options)
    except AutopruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(figures))
    if not options.no_json:
        options.out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a dense network and save its weights.")
    parser.add_argument("--model", default="resnet20", help="zoo name or package.module:factory")
    parser.add_argument("--data", default="fashion-mnist", help="data set")
    parser.add_argument("--data-dir", type=Path, help="folder of the data set's files")
    parser.add_argument("--epochs", type=int, help="default: the data set's own")
    parser.add_argument("--lr", type=float, default=0.1, help="peak learning rate")
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--threads", type=int, default=0, help="default: all")
    parser.add_argument("--state", type=Path, help="file of the unfinished training, to go on from")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--no-json", action="store_true", help="leave no file of figures")
    return parser.parse_args()


def _trained(options: argparse.Namespace) -> dict[str, object]:
    dataset = data.load(options.data, options.data_dir, batch_size=options.batch_size, seed=options.seed)
    model = models.build(options.model, in_channels=dataset.shape[0], classes=dataset.classes, seed=options.seed)
    settings = TrainSettings(
        epochs=dataset.dense_epochs if options.epochs is None else options.epochs,
        lr=options.lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        seed=options.seed,
    )
    seconds = 0.0

    def report(result: EpochResult) -> None:
        nonlocal seconds
        seconds += result.seconds
        search = accuracy(model, dataset.search)
        print(
            f"epoch {result.epoch}/{settings.epochs}  loss {result.loss:.4f}  lr {result.lr:.4f}  "
            f"search {search:.4f}  {result.seconds:.1f} s",
            flush=True,
        )

    trainer = Trainer(model, dataset.train, settings)
    if options.state is not None and options.state.is_file():
        trainer.load_state_dict(torch.load(options.state, weights_only=True))
    while trainer.epoch < settings.epochs:
        trainer.run(1, on_epoch=report)
        if options.state is not None:
            beside = options.state.with_name(options.state.name + ".new")
            torch.save(trainer.state_dict(), beside)
            beside.replace(options.state)
    models.save_weights(model.state_dict(), options.out)
    return {
        "model": options.model,
        "data": options.data,
        "weights": options.out.name,
        "search_accuracy": accuracy(model, dataset.search, bf16=False),
        "test_accuracy": accuracy(model, dataset.test, bf16=False),
        "epochs": settings.epochs,
        "batch_size": options.batch_size,
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        "label_smoothing": settings.label_smoothing,
        "seed": options.seed,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
        "counts": dict(dataset.counts),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
