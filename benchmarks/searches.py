"""Whether searches keep their budget as measured, and whether a policy belongs to its target.

    python benchmarks/searches.py kept --target onnxruntime --out kept-onnxruntime.json
    python benchmarks/searches.py cross --model resnet20 --size 28 --targets onnxruntime,openvino,torch --out cross.json

`kept` runs twenty whole searches (networks x budgets x seeds) with an evaluation that costs nothing, and measures what
comes back once more in a session of its own: the share of the dense latency, as the job measured it and as it is
measured again. `cross` searches one network under one budget for several targets, and times every policy on every
target, all of one target interleaved in one session.

The evaluation scores a network by its widths alone (the sum of the logarithms of its layers' parameters), so that a
search takes seconds; the budget, the table, the action mask, the finalists and their verification are those of every
search.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.errors import AutopruneError, BudgetError
from autoprune.hardware import TimingPlan, get_target, measure
from autoprune.models import ZOO
from autoprune.pipeline.reporter import Silent

# Network, size of the image, channels, budgets, seeds: twenty searches.
SEARCHES = (
    ("resnet20", 28, 1, ("70%", "50%", "30%"), (0, 1)),
    ("resnet20", 32, 3, ("70%", "50%", "30%"), (0, 1)),
    ("plain20", 28, 1, ("50%", "30%"), (0,)),
    ("mobilenet_v2", 32, 3, ("70%", "50%", "30%"), (0,)),
    ("resnet56", 32, 3, ("70%", "50%", "30%"), (0,)),
)


class Said(Silent):
    """Keeps what a job says, for the report."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


def widths_score(model: nn.Module, batches: Iterable[Any]) -> float:
    """The mean logarithm of the layers' numbers of weights: wider is better, with falling returns."""
    sizes = [p.numel() for p in model.parameters() if p.dim() > 1]
    return sum(map(math.log, sizes)) / len(sizes) / 10


def dense(name: str, channels: int) -> nn.Module:
    """A network of the zoo with weights of one seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ZOO[name](in_channels=channels).eval()


def loaders(size: int, channels: int) -> dict[str, DataLoader[Any]]:
    """Noise in the network's shape; nothing looks at it but BatchNorm's statistics."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(64, channels, size, size, generator=draw)
    data = TensorDataset(images, torch.arange(64) % 10)
    return {split: DataLoader(data, batch_size=32) for split in ("train", "search", "test")}


def search(model: nn.Module, example: Tensor, target: str, budget: str, seed: int, table: Path, talk: Said) -> Any:
    """One whole search: what `autoprune.compress` gives back."""
    size, channels = example.shape[-1], example.shape[1]
    return autoprune.compress(
        model,
        **loaders(size, channels),
        example_input=example,
        budget=f"latency<={budget}",
        target=target,
        agent="optuna",
        episodes=40,
        finetune_epochs=0,
        finalists=3,
        seed=seed,
        evaluate=widths_score,
        table=table,
        talk=talk,
    )


def kept(chosen: argparse.Namespace) -> dict[str, Any]:
    """Twenty searches on one target."""
    rows = []
    every = [(n, size, c, b, seed) for n, size, c, budgets, seeds in SEARCHES for b in budgets for seed in seeds]
    for name, size, channels, budget, seed in every[chosen.first : chosen.last]:
        model, example = dense(name, channels), torch.zeros(1, channels, size, size)
        row = {"model": f"{name} at {channels}x{size}x{size}", "budget": budget, "seed": seed}
        row |= one(model, example, chosen, budget, seed)
        rows.append(row)
        print(json.dumps(row), flush=True)
        write(chosen.out, {"rows": rows})
    done = [row for row in rows if "share_of_limit" in row]
    return {
        "device": get_target(chosen.target).fingerprint(),
        "searches": len(rows),
        "unreachable": sum("unreachable" in row for row in rows),
        "within_budget": sum(row["share_of_limit"] <= 1 for row in done),
        "within_budget_measured_again": sum(row["share_of_limit_again"] <= 1 for row in done),
        "within_half_a_percent_again": sum(row["share_of_limit_again"] <= 1.005 for row in done),
        "more_than_5_percent_below": [row for row in done if row["share_of_limit"] < 0.95],
        "rows": rows,
    }


def one(model: nn.Module, example: Tensor, chosen: argparse.Namespace, budget: str, seed: int) -> dict[str, Any]:
    """A row: the search's own figures, then both networks timed again in a process of their own."""
    talk, start = Said(), time.perf_counter()
    try:
        result = search(model, example, chosen.target, budget, seed, chosen.tables / table_name(chosen.target), talk)
    except BudgetError as error:
        return {"unreachable": str(error)}
    except AutopruneError as error:
        return {"failed": str(error)}
    limit = result.report["budget"]
    whole, small = measure([model, result.model], example, get_target(chosen.target), TimingPlan(passes=6))
    share = float(budget.removesuffix("%")) / 100
    return {
        "limit_ms": limit["limit"],
        "measured_ms": limit["measured"],
        "predicted_ms": result.report["finetuned"]["latency_ms_predicted"],
        "share_of_limit": round(limit["measured"] / limit["limit"], 4),
        "share_of_limit_again": round(small.ms / whole.ms / share, 4),
        "spread": [round(whole.spread, 4), round(small.spread, 4)],
        "stable": [whole.stable, small.stable],
        "score": result.report["finetuned"]["accuracy"],
        "uniform_score": result.report["baselines"].get("uniform", {}).get("accuracy"),
        "seconds": round(time.perf_counter() - start, 1),
        "said": [line for line in talk.lines if "tighten" in line or "widened" in line],
    }


def cross(chosen: argparse.Namespace) -> dict[str, Any]:
    """One network and budget, a policy for every target, all policies on all targets."""
    model, example = dense(chosen.model, chosen.channels), torch.zeros(1, chosen.channels, chosen.size, chosen.size)
    targets = chosen.targets.split(",")
    networks, policies = {}, {}
    for target in targets:
        table = chosen.tables / table_name(target)
        result = search(model, example, target, chosen.budget, chosen.seed, table, Said())
        networks[target], policies[target] = result.model, result.policy
        print(target, result.report["budget"], flush=True)
    shares: dict[str, Any] = {}
    for target in targets:
        whole, *small = measure([model, *networks.values()], example, get_target(target), TimingPlan(passes=6))
        shares[target] = {
            "dense_ms": whole.ms,
            **{f"policy for {name}": round(m.ms / whole.ms, 4) for name, m in zip(targets, small, strict=True)},
            "largest_spread": round(max(m.spread for m in (whole, *small)), 4),
        }
    return {
        "model": f"{chosen.model} at {chosen.channels}x{chosen.size}x{chosen.size}",
        "budget": chosen.budget,
        "share_of_dense_latency_on": shares,
        "kept_units": {target: list(policy.choices.values()) for target, policy in policies.items()},
        "score": {target: widths_score(network, ()) for target, network in networks.items()},
    }


def table_name(target: str) -> str:
    """A file name for a target's device table."""
    return "".join(c if c.isalnum() else "-" for c in target) + ".json"


def write(path: Path | None, content: Any) -> None:
    """Keep the figures."""
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Run one of the two, print its figures."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kept", "cross"))
    parser.add_argument("--target", default="onnxruntime", help="of `kept`")
    parser.add_argument("--first", type=int, default=0, help="of `kept`: number of the first search")
    parser.add_argument("--last", type=int, default=20, help="of `kept`: number behind the last search")
    parser.add_argument("--targets", default="onnxruntime,openvino,torch", help="of `cross`")
    parser.add_argument("--model", default="resnet20", choices=sorted(ZOO), help="of `cross`")
    parser.add_argument("--size", type=int, default=28, help="of `cross`")
    parser.add_argument("--channels", type=int, default=1, help="of `cross`")
    parser.add_argument("--budget", default="50%", help="of `cross`")
    parser.add_argument("--seed", type=int, default=0, help="of `cross`")
    parser.add_argument("--tables", type=Path, default=Path("tables"), help="folder of device tables, kept and reused")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    chosen = parser.parse_args()
    chosen.tables.mkdir(parents=True, exist_ok=True)
    report = kept(chosen) if chosen.what == "kept" else cross(chosen)
    write(chosen.out, report)
    print(json.dumps({k: v for k, v in report.items() if k != "rows"}, indent=1))


if __name__ == "__main__":
    main()
