"""One network on every target of this machine: how long it takes, against one of them, and what it computes.

    python benchmarks/targets.py
    python benchmarks/targets.py --model mobilenet_v1 --size 224 --channels 3 --targets torch,onnxruntime,openvino

A worker process a target stays open; round after round each of them times the network once, so that a slow spell of the
machine hits all alike. A ratio is taken within a round. Value: median over the rounds; spread: smallest to largest.
"""

from __future__ import annotations

import argparse
import json
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from autoprune.hardware import TARGETS, LocalTarget, Measurement, Protocol, get_target
from autoprune.hardware.sensors.processor import cpu_flags, cpu_model
from autoprune.models import ZOO

_OPTIONS = ("torch@channels_last", "torch@bf16+channels_last", "openvino@bf16")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", choices=sorted(ZOO), help="zoo name")
    parser.add_argument("--size", type=int, default=28, help="height and width of the image")
    parser.add_argument("--channels", type=int, default=1, help="channels of the image")
    parser.add_argument("--batch", type=int, default=1, help="images in the batch")
    parser.add_argument("--targets", help="names with options, commas between; default all that work here")
    parser.add_argument("--against", default="onnxruntime", help="the target that the ratio refers to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    return parser.parse_args()


def main() -> None:
    """Pack, time in rounds, compare."""
    torch.set_num_threads(1)
    chosen = arguments()
    specs = chosen.targets.split(",") if chosen.targets else [*TARGETS, *_OPTIONS]
    targets = {spec: target for spec in dict.fromkeys([chosen.against, *specs]) if (target := here(spec)) is not None}
    draw = torch.Generator().manual_seed(0)
    model = ZOO[chosen.model](in_channels=chosen.channels).eval()
    x = torch.randn(chosen.batch, chosen.channels, chosen.size, chosen.size, generator=draw)
    payloads = {spec: target.pack(model, x) for spec, target in targets.items()}
    rounds = timed(targets, payloads, chosen.rounds)
    with torch.no_grad():
        expected = model(x)
    rows = {}
    for spec, target in targets.items():
        output = target.compute(payloads[spec], x.numpy())
        off = (
            None if output is None else float((torch.from_numpy(output) - expected).abs().max() / expected.abs().max())
        )
        rows[spec] = figures([r[spec] for r in rounds], [r[chosen.against] for r in rounds]) | {"off": off}
    content = {"cpu": cpu_model(), "flags": cpu_flags(), "settings": vars(chosen) | {"out": None}, "targets": rows}
    show(content, chosen.against)
    if chosen.out:
        chosen.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def here(spec: str) -> LocalTarget | None:
    """The target, if it works on this machine."""
    target = get_target(spec)
    missing = target.available()
    if missing is not None:
        print(f"{spec}: {missing}")
    return target if missing is None and isinstance(target, LocalTarget) else None


def timed(targets: dict[str, LocalTarget], payloads: dict[str, bytes], rounds: int) -> list[dict[str, Measurement]]:
    """A measurement of every target, round by round."""
    protocol = Protocol(block=0.04, most_blocks=8, closing=0)  # the rounds are what settles a value
    results = []
    with ExitStack() as stack:
        timers = {spec: stack.enter_context(target.session()) for spec, target in targets.items()}
        for number in range(rounds):
            results.append({spec: timer.time([payloads[spec]], protocol)[0] for spec, timer in timers.items()})
            print(f"round {number + 1} of {rounds}", flush=True)
    return results


def figures(own: list[Measurement], other: list[Measurement]) -> dict[str, Any]:
    """What the table shows of one target."""
    ratios = [a.ms / b.ms for a, b in zip(own, other, strict=True)]
    return {
        "ms": statistics.median(m.ms for m in own),
        "ms_range": [min(m.ms for m in own), max(m.ms for m in own)],
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "clock": own[0].clock,
        "load_s": own[0].conditions["load_s"],  # of the first time: what is compiled is then kept by the worker
        "peak_memory_mb": own[0].conditions["peak_memory_mb"],
    }


def show(content: dict[str, Any], against: str) -> None:
    """The table, in Markdown."""
    print(f"\n{content['cpu']}; {content['flags']}\n")
    print(
        f"| target | ms | lowest to highest | to {against} | lowest to highest | load s | peak MiB | outputs off by |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for spec, row in content["targets"].items():
        (low, high), (least, most) = row["ms_range"], row["ratio_range"]
        off = "-" if row["off"] is None else f"{row['off']:.0e}"
        print(
            f"| `{spec}` | {row['ms']:.3f} | {low:.3f} to {high:.3f} | {row['ratio']:.2f} | {least:.2f} to {most:.2f}"
            f" | {row['load_s']:.1f} | {row['peak_memory_mb']} | {off} |"
        )


if __name__ == "__main__":
    main()
