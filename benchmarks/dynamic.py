"""Dynamic networks from the shipped ResNet-20: accuracy, who leaves where, and times beside the dense network's.

python benchmarks/dynamic.py --seeds 0,1,2 --drop 0.5
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import autoprune
from autoprune.cli.screen import Screen


def main() -> None:
    """One run a seed of the heads, a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--drop", type=float, default=0.5, help="promised loss in percentage points")
    parser.add_argument("--method", default="exits", help="what depends on the input")
    parser.add_argument("--worst", default="110%", help="longest path, as a share of dense")
    parser.add_argument("--active", default="60%", help="share of the work that skip and gate aim at")
    parser.add_argument("--dynamic-epochs", type=int, default=5, help="of a training that the method has")
    parser.add_argument("--samples", type=int, default=20_000, help="training samples of the heads")
    parser.add_argument("--timing", default="normal", choices=("quick", "normal", "careful"))
    parser.add_argument("--static-episodes", type=int, default=24, help="of the search for a static network")
    parser.add_argument("--static-epochs", type=int, default=2, help="of its fine-tuning")
    parser.add_argument("--out", type=Path, default=Path("runs/dynamic"))
    given = parser.parse_args()
    print(
        "| seed | dense | dynamic | leave at | mean | predicted | p95 | p99 | longest path | static of the same mean |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for seed in given.seeds.split(","):
        result = autoprune.dynamic(
            "resnet20",
            data="fashion-mnist",
            run=given.out / given.method / seed,
            method=given.method,
            worst=given.worst,
            active=given.active,
            dynamic_epochs=given.dynamic_epochs,
            max_drop=given.drop,
            head_samples=given.samples,
            seed=int(seed),
            timing=given.timing,
            static_episodes=given.static_episodes,
            static_epochs=given.static_epochs,
            resume=True,
            talk=Screen(),
        )
        print(_row(seed, result.report))


def _row(seed: str, report: dict[str, Any]) -> str:
    dense = report["dense"]
    if not report["dynamic"] and "fixed" in report:
        fixed = report["fixed"]
        kept = f"{fixed['name']} alone, {fixed['accuracy']:.2%} at {fixed['latency_share']:.1%}"
        return f"| {seed} | {dense['accuracy']:.2%} | {kept} | | | | | | | |"
    if not report["dynamic"]:
        kept = f"static, {report['accuracy']:.2%} at {report['mean_share']:.1%}"
        return f"| {seed} | {dense['accuracy']:.2%} | {kept} | | | | | | | |"
    whole, stream = dense["stream"], report["stream"]
    leave = ", ".join(f"{each['place']} {each['share']:.0%}" for each in report["exits"])
    tails = " | ".join(f"{stream[name] / whole[name]:.1%}" for name in ("p95", "p99"))
    longest = report["worst_latency_ms"] / dense["latency_ms"]
    return (
        f"| {seed} | {dense['accuracy']:.2%} | {report['accuracy']:.2%} | {leave} | {report['mean_share']:.1%}"
        f" | {report['predicted_share']:.1%} | {tails} | {longest:.1%} | {_static(report['static'])} |"
    )


def _static(static: dict[str, Any] | None) -> str:
    if static is None or "reason" in static:
        return "-"
    return f"{static['accuracy']:.2%} at {static['latency_share']:.1%}"


if __name__ == "__main__":
    main()
