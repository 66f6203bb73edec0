"""Tickets found by three rules of masks on the digits: exact counts, and two rules of public repositories as doubles.

    python benchmarks/lottery_peers.py --out peers.json

LeNet-300-100, five seeds, ten rounds of 30 % over all layers together, 210 steps of SGD a training from the first
weights, the same images in the same order under every rule. `threshold` takes a weight out that is not above the
threshold, so that ties go along and one more than asked for (facebookresearch/open_lth); `frozen negatives` zeroes
gradients where a weight is below 1e-6 instead of where it is 0, its sign forgotten (the most cloned repository of
lottery tickets). Both are written anew from what is known of these rules, nothing of their code is here.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune import data
from autoprune.evaluation import accuracy
from autoprune.masks.ladder import first_masks
from autoprune.models import build
from autoprune.reports.grid import difference
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks, SteppingConstraint
from autoprune.training.epochs import Remembered

SEEDS, ROUNDS, SHARE = 5, 10, 0.3


class FrozenNegatives(SteppingConstraint):
    """A test double: masks weights when it starts, and zeroes the gradient of all that are below 1e-6."""

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self._masks: Mapping[str, Tensor] | None = masks
        self._names = tuple(masks)

    @torch.no_grad()
    def before_step(self, model: torch.nn.Module) -> None:
        """Zero the gradients of weights below 1e-6."""
        for name in self._names:
            weight = model.get_parameter(name)
            if weight.grad is not None:
                weight.grad[weight < 1e-6] = 0

    @torch.no_grad()
    def project(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Zero what is masked, the first time."""
        for name, mask in (self._masks or {}).items():
            model.get_parameter(name).masked_fill_(~mask, 0)
        self._masks = None


def thresholded(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """A test double: over all layers, `> threshold` at the weight that would be the last to go, which goes, too."""
    left = torch.cat([weights[name][mask].abs() for name, mask in masks.items()]).sort().values
    threshold = left[round(share * len(left))]
    return {name: mask & (weights[name].abs() > threshold) for name, mask in masks.items()}


def exact(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Ours over all layers: as many as are asked for."""
    scores = torch.cat([weights[name].abs().masked_fill(~mask, -1.0).flatten() for name, mask in masks.items()])
    count = sum(int(mask.sum()) for mask in masks.values())
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[scores.topk(count - round(share * count)).indices] = True
    parts = chosen.split([mask.numel() for mask in masks.values()])
    return {name: part.view(mask.shape) for (name, mask), part in zip(masks.items(), parts, strict=True)}


Rule = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], float], dict[str, Tensor]]
PEERS: Mapping[str, tuple[Rule, Callable[[Mapping[str, Tensor]], SteppingConstraint]]] = {
    "ours": (exact, Masks),
    "threshold": (thresholded, Masks),
    "frozen negatives": (exact, FrozenNegatives),
}


def trained(whole: data.DataSet, settings: TrainSettings, name: str, seed: int) -> list[dict[str, Any]]:
    """A row for every round of a rule's tickets of a seed."""
    rule, constraint = PEERS[name]
    first = build("lenet_300_100", in_channels=1, classes=10, image_size=16, seed=seed)
    masks = first_masks({key: p.detach() for key, p in first.named_parameters() if p.ndim > 1})
    batches, rows = Remembered(whole.train, seed * 1000, settings.epochs), []
    for number in range(ROUNDS + 1):
        network = build("lenet_300_100", in_channels=1, classes=10, image_size=16, seed=seed)
        Trainer(network, batches, settings, constraint=constraint(masks)).run()
        kept = sum(int(mask.sum()) for mask in masks.values())
        score = accuracy(network, whole.test, bf16=False)
        rows.append({"rule": name, "seed": seed, "round": number, "kept": kept, "accuracy": score})
        masks = rule({key: network.get_parameter(key).detach() for key in masks}, masks, SHARE)
    return rows


def table(rows: list[dict[str, Any]]) -> None:
    """Means over seeds by round, and what the others are below or above ours."""
    print(
        "| round | weights kept | ours |", " | ".join(f"{name}, kept, - ours" for name in PEERS if name != "ours"), "|"
    )
    for number in range(ROUNDS + 1):
        of = {name: {r["seed"]: r for r in rows if (r["rule"], r["round"]) == (name, number)} for name in PEERS}
        scores = {name: {seed: 100 * row["accuracy"] for seed, row in own.items()} for name, own in of.items()}
        cells = [str(number), str(of["ours"][0]["kept"]), f"{statistics.fmean(scores['ours'].values()):.2f}"]
        for name in PEERS:
            paired = difference(scores[name], scores["ours"])
            if name != "ours" and paired is not None and paired.half is not None:
                cells.append(
                    f"{statistics.fmean(scores[name].values()):.2f}, {of[name][0]['kept']},"
                    f" {paired.mean:+.2f} ± {paired.half:.2f}"
                )
        print("|", " | ".join(cells), "|")


def main() -> None:
    """Train all, or print what an earlier run has written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="rows by rule, seed and round; what is there is kept")
    out = parser.parse_args().out
    rows: list[dict[str, Any]] = json.loads(out.read_text()) if out.exists() else []
    whole = data.load("digits", None, batch_size=128, seed=0)
    settings = TrainSettings(epochs=30, lr=0.1, distil_weight=0.0, label_smoothing=0.0, fused=True)
    for seed in range(SEEDS):
        for name in PEERS:
            if not any((row["seed"], row["rule"]) == (seed, name) for row in rows):
                rows += trained(whole, settings, name, seed)
                out.write_text(json.dumps(rows))
    table(rows)


if __name__ == "__main__":
    main()
