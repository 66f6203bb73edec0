"""Exits of a ViT of transformers on Fashion-MNIST: trained here from a config, then `autoprune.dynamic`.

    OMP_NUM_THREADS=1 python benchmarks/dynamic_vit.py --weights vit.safetensors --seeds 0,1,2

Six layers of 192 features, patches of 7x7. The training is AdamW with a cosine, shifts and flips, in bfloat16; weights
that are there are not trained again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTForImageClassification

import autoprune
from autoprune import data
from autoprune.cli.screen import Screen
from autoprune.models import load_weights, save_weights

_BATCH = 128


def main() -> None:
    """Train what is missing; one run a seed of the heads, a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="file of the ViT's weights, written if missing")
    parser.add_argument("--epochs", type=int, default=8, help="of the ViT's training")
    parser.add_argument("--seeds", default="0", help="of the heads")
    parser.add_argument("--drop", type=float, default=0.5, help="promised loss in percentage points")
    parser.add_argument("--timing", default="quick", choices=("quick", "normal", "careful"))
    parser.add_argument("--static-episodes", type=int, default=0, help="of the search for a static network")
    parser.add_argument("--out", type=Path, default=Path("runs/dynamic-vit"))
    given = parser.parse_args()
    torch.manual_seed(0)
    model = ViTForImageClassification(
        ViTConfig(
            image_size=28,
            patch_size=7,
            num_channels=1,
            hidden_size=192,
            num_hidden_layers=6,
            num_attention_heads=3,
            intermediate_size=768,
            num_labels=10,
        )
    )
    split = data.load("fashion-mnist", batch_size=_BATCH, seed=0)
    if given.weights.exists():
        load_weights(model, given.weights)
    else:
        _train(model, split.train, given.epochs)
        save_weights(model.state_dict(), given.weights)
    model.eval()
    print("| seed | dense | dynamic | leave at | mean | predicted | longest path | static of the same mean |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in given.seeds.split(","):
        result = autoprune.dynamic(
            model, train=split.train, search=split.search, test=split.test, max_drop=given.drop, seed=int(seed),
            timing=given.timing, static_episodes=given.static_episodes, run=given.out / seed, resume=True,
            talk=Screen(),
        )  # fmt: skip
        print(_row(seed, result.report), flush=True)


def _train(model: nn.Module, batches: Any, epochs: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    start = time.process_time()
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for images, labels in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(_moved(images)).logits
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}  loss {total / len(batches):.4f}  {time.process_time() - start:.0f} CPU s")


def _moved(images: Tensor) -> Tensor:
    """Shifted by at most two pixels, and half of the batches mirrored."""
    right, down = torch.randint(-2, 3, (2,)).tolist()
    images = torch.roll(images, (down, right), (2, 3))
    return images.flip(3) if torch.rand(()) < 0.5 else images


def _row(seed: str, report: dict[str, Any]) -> str:
    dense, static = report["dense"], report["static"]
    if not report["dynamic"]:
        return f"| {seed} | {dense['accuracy']:.2%} | static, {report['accuracy']:.2%} | | | | | |"
    leave = ", ".join(f"{each['place']} {each['share']:.0%}" for each in report["exits"])
    longest = report["worst_latency_ms"] / dense["latency_ms"]
    beside = "-" if not static or "reason" in static else f"{static['accuracy']:.2%} at {static['latency_share']:.1%}"
    return (
        f"| {seed} | {dense['accuracy']:.2%} | {report['accuracy']:.2%} | {leave} | {report['mean_share']:.1%}"
        f" | {report['predicted_share']:.1%} | {longest:.1%} | {beside} |"
    )


if __name__ == "__main__":
    main()
