"""What each ingredient of fine-tuning, and each schedule of gradual pruning, is worth at equal epochs.

    python benchmarks/ingredients.py --data digits --model resnet20 --epochs 10 --seeds 3 --out ingredients
    python benchmarks/ingredients.py --data digits --model resnet20 --epochs 10 --seeds 3 --out ingredients --table

Every cell is one whole job: the same dense weights (of one training a seed), one policy (uniform, within --flops), and
the fine-tuning that is compared. Its result is a file of its own in --out, so that the same command goes on where it
was ended; --only and --seeds divide the work. --table prints what there is: accuracy on the test split, mean and
sample standard deviation over the seeds, and the mean difference to `default` of the same seeds with its standard
error. Fine-tuning is scored once, on the test split, and nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import autoprune
from autoprune.errors import AutopruneError

CELLS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": {"recipe": "plain"},
    "strong": {"recipe": "strong"},
    "without label smoothing": {"label_smoothing": 0.0},
    "without distillation": {"distil": 0.0},
    "with features": {"distil_features": 1.0},
    "with ema": {"ema": 0.999},
    "with mixup": {"mixup": 0.2},
    "without warm-up": {"warmup_epochs": 0.0},
    "adamw": {"optimizer": "adamw"},
    "iterative": {"schedule": "iterative"},
    "cubic": {"schedule": "cubic"},
    "bn_scale": {"criterion": "bn_scale"},
    "bn_scale, slim 1e-4": {"criterion": "bn_scale", "slim": 1e-4},
}
"""By what a cell differs from the defaults."""


def main() -> int:
    """Run what is missing, or print the table; the process's exit status."""
    chosen = _parsed()
    torch.set_num_threads(chosen.threads)
    try:
        if chosen.table:
            print(table(chosen.out))
        else:
            _run(chosen)
    except AutopruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", help="zoo name or package.module:factory")
    parser.add_argument("--data", default="digits", help="data set")
    parser.add_argument("--data-dir", help="folder of the data set's files")
    parser.add_argument("--weights", help="trained weights; without, the dense network is trained once a seed")
    parser.add_argument("--train-epochs", type=int, help="of the dense training; default: the data set's")
    parser.add_argument("--epochs", type=int, default=10, help="of every fine-tuning")
    parser.add_argument("--flops", default="30%", help="what the policy may cost")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="cells, with semicolons between them; default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("ingredients"), help="folder of runs and results")
    parser.add_argument("--table", action="store_true", help="print the results that there are")
    chosen = parser.parse_args()
    unknown = [name for name in (chosen.only or "").split(";") if name and name not in CELLS]
    if unknown:
        parser.error(f"there is no cell {unknown[0]!r}; there are {'; '.join(CELLS)}")
    return chosen


def _run(chosen: argparse.Namespace) -> None:
    cells = [name for name in (chosen.only or "").split(";") if name] or list(CELLS)
    for seed in range(chosen.seeds):
        for name in cells:
            path = chosen.out / f"{slug(name)}-{seed}.json"
            if path.exists():
                continue
            result = cell(chosen, name, seed)
            beside = path.with_name(path.name + ".new")
            beside.write_text(json.dumps(result, indent=1) + "\n")
            beside.replace(path)
            print(f"{name}, seed {seed}: {result['accuracy']:.4f} ({result['seconds']:.0f} s)", flush=True)


def slug(name: str) -> str:
    """A file name for a cell."""
    return "".join(c if c.isalnum() else "-" for c in name)


def cell(chosen: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """One job, gone on with if it was ended: what its finished network scores."""
    start = time.perf_counter()
    report = _job(chosen, f"{slug(name)}-{seed}", _dense(chosen, seed), seed, chosen.epochs, CELLS[name])
    return {
        "cell": name,
        "seed": seed,
        "differs": CELLS[name],
        "accuracy": report["finetuned"]["accuracy"],
        "raw": report["pruned"]["accuracy"],
        "dense": report["dense"]["accuracy"],
        "flops": report["finetuned"]["flops"] / report["dense"]["flops"],
        "epochs": chosen.epochs,
        "recipe": report["recipe"],
        "seconds": round(time.perf_counter() - start, 1),
        "model": chosen.model,
        "data": chosen.data,
        "budget": chosen.flops,
        "torch": torch.__version__,
    }


def _dense(chosen: argparse.Namespace, seed: int) -> Path:
    """The dense weights of a seed; trained by the default recipe unless they are given."""
    if chosen.weights:
        return Path(chosen.weights)
    path = chosen.out / f"dense-{seed}" / "dense.safetensors"
    if not path.exists():
        _job(chosen, f"dense-{seed}", None, seed, 0, {})
    return path


def _job(
    chosen: argparse.Namespace, run: str, weights: Path | None, seed: int, epochs: int, differs: Mapping[str, Any]
) -> dict[str, Any]:
    """A whole job with one policy and one finalist, so that fine-tuning is all that differs."""
    settings: dict[str, Any] = {
        "model": chosen.model,
        "data": chosen.data,
        "data_dir": chosen.data_dir,
        "weights": None if weights is None else str(weights),
        "train_epochs": chosen.train_epochs,
        "finetune_epochs": epochs,
        "flops": chosen.flops,
        "agent": "uniform",
        "episodes": 1,
        "finalists": 1,
        "timing": "quick",
        "train_threads": chosen.threads,
        "seed": seed,
    }
    report: dict[str, Any] = autoprune.compress(
        settings={**settings, **differs}, run=chosen.out / run, resume=True
    ).report
    return report


def table(folder: Path) -> str:
    """Markdown of the results in a folder."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        found.setdefault(result["cell"], {})[result["seed"]] = 100 * result["accuracy"]
    lines = ["| cell | seeds | accuracy, % | against `default`, points |", "|---|---|---|---|"]
    for name in (name for name in CELLS if name in found):
        against = [
            found[name][seed] - found["default"][seed] for seed in found[name] if seed in found.get("default", {})
        ]
        scores = list(found[name].values())
        lines.append(f"| {name} | {len(scores)} | {_spread(scores)} | {_error(against)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} +- {statistics.stdev(values):.2f}"


def _error(differences: list[float]) -> str:
    """Mean of paired differences and its standard error."""
    if not differences:
        return ""
    mean = f"{statistics.mean(differences):+.2f}"
    return mean if len(differences) < 2 else f"{mean} +- {statistics.stdev(differences) / len(differences) ** 0.5:.2f}"


if __name__ == "__main__":
    sys.exit(main())
