"""How near the time that `--dry-run` announces comes to the time that the job then takes.

    python benchmarks/plan_estimates.py [--jobs digits,images,text] [--repeats 1] [--stages]

Each job is planned and then run, one right after the other, in one process: a machine that is busy is so for both.
The table of docs/own-task.md comes from here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import torch
from torch import nn

import autoprune
from autoprune.pipeline.plan.base import Plan

JOBS: dict[str, dict[str, Any]] = {
    "digits": {
        "model": "benchmarks.plan_estimates:cnn", "data": "digits", "latency": "60%", "target": "torch",
        "agent": "ddpg", "episodes": 60, "train_epochs": 5, "finetune_epochs": 4,
    },
    "images": {
        "model": "resnet20", "data": "fashion-mnist", "latency": "50%", "target": "onnxruntime",
        "agent": "random", "episodes": 20, "finetune_epochs": 0, "finalists": 3,
    },
    "text": {
        "model": "examples.text_classification:network", "data": "examples.text_classification:loaders",
        "params": "70%", "agent": "optuna", "episodes": 40, "train_epochs": 4, "finetune_epochs": 2,
    },
}  # fmt: skip


def cnn() -> nn.Module:
    """A small network for the 8 by 8 images of handwritten digits."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def pair(settings: dict[str, Any]) -> tuple[Plan, float, float, dict[str, float]]:
    """The plan, the seconds that planning took, those of the job, and the job's by stage."""
    threads = torch.get_num_threads()
    start = time.perf_counter()
    plan = autoprune.compress(**settings, train_threads=threads, dry_run=True)
    planned = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = autoprune.compress(**settings, train_threads=threads, run=f"{folder}/run")
        return plan, planned, time.perf_counter() - start, result.report["seconds"]


def main() -> None:
    """Print a row a job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--stages", action="store_true", help="show what every stage was planned to take, and took")
    given = parser.parse_args()
    print("| job | dry run took | estimate | job took | estimate / job |\n|---|---|---|---|---|")
    for _ in range(given.repeats):
        for name in given.jobs.split(","):
            plan, planned, taken, stages = pair(JOBS[name])
            ratio = plan.seconds / taken
            print(f"| {name} | {planned:.1f} s | {plan.seconds:.0f} s | {taken:.0f} s | {ratio:.2f} |", flush=True)
            if given.stages:
                print("  planned:", {stage.name: round(stage.seconds, 1) for stage in plan.stages})
                print("  taken:  ", stages, flush=True)


if __name__ == "__main__":
    main()
