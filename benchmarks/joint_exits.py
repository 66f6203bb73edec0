"""Widths and exits in one search beside widths first and exits afterwards, at one mean latency.

python benchmarks/joint_exits.py --seeds 0 --mean 30
python benchmarks/joint_exits.py --data fashion-mnist --seeds 0 --mean 30 --drop 1 --epochs 4 --widths 60
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import autoprune
from autoprune import data as data_sets
from autoprune.cli.screen import Screen

_COMMON: dict[str, Any] = {"timing": "quick", "resume": True}


def main() -> None:
    """A dense network, then a line for each way and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--data", default="digits", choices=("digits", "fashion-mnist"))
    parser.add_argument("--mean", type=float, default=30, help="mean latency in percent of dense")
    parser.add_argument("--widths", default="70,50", help="of widths first: static latencies in percent of dense")
    parser.add_argument("--drop", type=float, default=10, help="promised loss in percentage points")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=10, help="of fine-tuning")
    parser.add_argument("--agent", default="optuna")
    parser.add_argument("--out", type=Path, default=Path("runs/joint-exits"))
    given = parser.parse_args()
    print("| seed | way | accuracy | mean | predicted | longest path | leave at |")
    print("|---|---|---|---|---|---|---|")
    for seed in map(int, given.seeds.split(",")):
        weights = _dense(given, seed)
        print(_row(seed, "together", _together(given, weights, seed)), flush=True)
        for share in filter(None, given.widths.split(",")):
            print(_row(seed, f"widths of {share}%, then exits", _afterwards(given, weights, seed, share)), flush=True)


def _dense(given: argparse.Namespace, seed: int) -> Path | None:
    """Train the dense network, as any run does first; None where its weights ship."""
    if given.data == "fashion-mnist":
        return None
    folder = given.out / f"{seed}-dense"
    autoprune.compress(
        "resnet20", data=given.data, **_COMMON, budget="flops<=90%", agent="uniform", episodes=1, finetune_epochs=0,
        seed=seed, run=folder, talk=Screen(),
    )  # fmt: skip
    return folder / "dense.safetensors"


def _limits(given: argparse.Namespace) -> dict[str, Any]:
    return {"max_drop": given.drop, "worst": "150%", "static_episodes": 0}


def _together(given: argparse.Namespace, weights: Path | None, seed: int) -> dict[str, Any]:
    return autoprune.dynamic(
        "resnet20", data=given.data, **_COMMON, **_limits(given), weights=weights, kinds="channels,exit",
        mean_latency=f"{given.mean}%", agent=given.agent, episodes=given.episodes, finetune_epochs=given.epochs,
        seed=seed, run=given.out / f"{seed}-together", talk=Screen(),
    ).report  # fmt: skip


def _afterwards(given: argparse.Namespace, weights: Path | None, seed: int, share: str) -> dict[str, Any]:
    """As many episodes and epochs for widths alone; then exits within the same mean of the dense network's time."""
    cut = autoprune.compress(
        "resnet20", data=given.data, **_COMMON, weights=weights, budget=f"latency<={share}%", agent=given.agent,
        episodes=given.episodes, finetune_epochs=given.epochs, finetune_seeds=1, finalists=1, seed=seed,
        run=given.out / f"{seed}-widths-{share}", talk=Screen(),
    )  # fmt: skip
    dense, small = cut.report["dense"], cut.report["finetuned"]
    taken = small["latency_ms"] / dense["latency_ms"]
    data = data_sets.load(given.data, seed=0)
    report = autoprune.dynamic(
        cut.model, train=data.train, search=data.search, test=data.test, example_input=data.example, timing="quick",
        resume=True, **_limits(given), mean_latency=f"{min(100, given.mean / taken):.2f}%", seed=seed,
        run=given.out / f"{seed}-exits-{share}", talk=Screen(),
    ).report  # fmt: skip
    scaled = {name: report[name] * taken for name in ("mean_share", "predicted_share") if name in report}
    return {**report, **scaled, "longest": report["worst_latency_ms"] / report["dense"]["latency_ms"] * taken}


def _row(seed: int, way: str, report: dict[str, Any]) -> str:
    if not report["dynamic"]:
        return f"| {seed} | {way} | handed back as static | | | | |"
    leave = ", ".join(f"{each['place']} {each['share']:.0%}" for each in report["exits"])
    longest = report.get("longest", report["worst_latency_ms"] / report["dense"]["latency_ms"])
    return (
        f"| {seed} | {way} | {report['accuracy']:.2%} | {report['mean_share']:.1%} | {report['predicted_share']:.1%}"
        f" | {longest:.1%} | {leave} |"
    )


if __name__ == "__main__":
    main()
