"""Exits beside those of the package earlyon 0.3.0: the same network, data and clock (ResNet-20 on Fashion-MNIST).

In an environment that has both: pip install --no-deps earlyon==0.3.0
python benchmarks/beside_earlyon.py --drop 0.5
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.cli.screen import Screen
from autoprune.export.onnx import to_onnx
from autoprune.hardware import get_target
from autoprune.models.copying import duplicate
from autoprune.pipeline.task import load_task
from autoprune.run.experiment import Experiment

_STREAM, _TURN = 1000, 25
_PLACES = {"stage ends": ("layer1", "layer2"), "our places": None}


def main() -> None:
    """One run of autoprune, then earlyon at stage ends and at the same places; a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drop", type=float, default=0.5, help="asked loss in percentage points")
    parser.add_argument("--samples", type=int, default=20_000, help="training samples of the heads")
    parser.add_argument("--epochs", type=int, default=5, help="of earlyon's heads")
    parser.add_argument("--out", type=Path, default=Path("runs/beside-earlyon"))
    given = parser.parse_args()
    settings = {"model": "resnet20", "data": "fashion-mnist", "latency": "100%", "agent": "dynamic", "run": "beside"}
    task = load_task(Experiment(**settings))
    dense = task.model.eval()
    ours = autoprune.dynamic(
        "resnet20", data="fashion-mnist", max_drop=given.drop, head_samples=given.samples, seed=given.seed,
        timing="quick", static_episodes=0, run=given.out / str(given.seed), resume=True, talk=Screen(),
    )  # fmt: skip
    file = (given.out / str(given.seed) / "model.onnx").read_bytes()
    train, search, test = (
        _whole(batches, given.samples) for batches in (task.data.train, task.data.search, task.data.test)
    )
    images = [image[None] for image in test[0][:_STREAM]]
    whole = _accuracy(lambda x: dense(x), test)
    print("| way | runs in | accuracy | lost | mean | p50 | p95 |\n|---|---|---|---|---|---|---|")
    call = get_target("onnxruntime").caller(file)
    arrays = [image.numpy() for image in images]
    alone = get_target("onnxruntime").caller(to_onnx(dense, task.example))
    right = ours.report["accuracy"]
    print(
        _row(
            "autoprune", "onnxruntime", right, whole, _turns(lambda n: alone([arrays[n]]), lambda n: call([arrays[n]]))
        )
    )
    print(_row("autoprune", "torch", right, whole, _turns(lambda n: dense(images[n]), lambda n: ours.model(images[n]))))
    own = tuple(each["place"] for each in ours.report["exits"][:-1])
    for name, places in _PLACES.items():
        rival = _earlyon(duplicate(dense), places or own, train, search, given)
        got = _accuracy(lambda x, rival=rival: _answered(rival, x), test)
        timed = _turns(lambda n: dense(images[n]), lambda n, rival=rival: rival(images[n], mode="inference"))
        print(_row(f"earlyon, {name} ({', '.join(places or own)})", "torch", got, whole, timed), flush=True)


def _whole(batches: Any, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    parts, seen = [], 0
    for batch in batches:
        parts.append(batch)
        seen += len(batch[1])
        if seen >= most:
            break
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _earlyon(dense: torch.nn.Module, places: Any, train: Any, search: Any, given: argparse.Namespace) -> Any:
    """Its heads, trained on the frozen network; its thresholds, for the same asked loss on the same search split."""
    from earlyon import EarlyExitConfig, EarlyExitHead, EarlyExitWrapper, ExitPoint
    from earlyon.core.thresholds import calibrate_thresholds
    from earlyon.training import stage2_train_exits

    torch.manual_seed(given.seed)
    # What its `custom_ee` does, whose module needs torchvision.
    widths = {"layer1": 16, "layer2": 32, "layer3": 64}
    points = [ExitPoint(f"e{n}", name, widths[name.partition(".")[0]]) for n, name in enumerate(places)]
    heads = {point.name: EarlyExitHead(point.in_channels, 10, hidden_dim=128, dropout=0.2) for point in points}
    config = EarlyExitConfig(backbone="custom", num_classes=10, exit_points=points)
    wrapped = EarlyExitWrapper(dense, heads, torch.nn.Identity(), config, input_shape=(1, 1, 28, 28))
    loader = DataLoader(TensorDataset(*train), batch_size=128, shuffle=True)
    stage2_train_exits(wrapped, loader, epochs=given.epochs, on_epoch_end=lambda log: None)
    known = DataLoader(TensorDataset(*search), batch_size=256)
    calibrate_thresholds(wrapped, known, given.drop / 100, fit_temperature=True)
    return wrapped.eval()


def _answered(rival: Any, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([rival(image[None], mode="inference").prediction for image in images])


def _accuracy(answer: Callable[[torch.Tensor], torch.Tensor], split: Any) -> float:
    with torch.no_grad():
        parts = [answer(x).argmax(1) == y for x, y in zip(split[0].split(500), split[1].split(500), strict=True)]
    return float(torch.cat(parts).float().mean())


def _turns(dense: Callable[[int], Any], dynamic: Callable[[int], Any]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of every call of both, in turns of 25 inputs; two calls before each turn are not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for start in range(0, _STREAM, _TURN):
            for times, call in zip(seconds, (dense, dynamic), strict=True):
                for number in (start, start + 1):
                    call(number)
                for number in range(start, start + _TURN):
                    begun = time.thread_time()
                    call(number)
                    times.append(time.thread_time() - begun)
    return np.array(seconds[0]), np.array(seconds[1])


def _row(name: str, runtime: str, accuracy: float, dense: float, timed: tuple[np.ndarray, np.ndarray]) -> str:
    whole, mine = timed
    shares = " | ".join(f"{np.percentile(mine, q) / np.percentile(whole, q):.1%}" for q in (50, 95))
    mean = f"{mine.mean() / whole.mean():.1%} ({1e3 * mine.mean():.3f} ms)"
    return f"| {name} | {runtime} | {accuracy:.2%} | {100 * (dense - accuracy):.2f} | {mean} | {shares} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
