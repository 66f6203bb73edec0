"""What the engine takes: analysis, a candidate, a cut, memory; beside Torch-Pruning on the same networks, same run.

    python benchmarks/engine.py [--candidates 1000] [--networks resnet56 mobilenet_v2 ...]

Processor time of one thread in ms, random policies that keep half of every decision; the median where repeated.
Torch-Pruning is measured where it is installed (`pip install torch-pruning --no-deps`): its constructor, which builds
the dependency graph, and one step, which prunes the same half by L1 norm.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from autoprune import models
from autoprune.graph import Analysis, Selector, analyse, cut

NETWORKS = ("resnet20", "resnet56", "vgg16_bn", "mobilenet_v1", "mobilenet_v2")
MEGABYTE = 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--candidates", type=int, default=1000, help="in the memory test, on the first network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    analyse(*built("plain20"))  # the first export imports much of torch
    names = f"{'network':14}{'analysis':>10}{'select':>8}{'cut':>8}{'16 images, selected / cut':>27}"
    print(f"{names}{'Torch-Pruning: build':>22}{'step':>8}")
    for name in options.networks:
        print(row(name), flush=True)
    growth, size = memory(options.networks[0], options.candidates)
    share = f"{growth / MEGABYTE:+.1f} MB on {size / MEGABYTE:.0f} MB ({growth / size:+.2%})"
    print(f"{options.candidates} candidates of {options.networks[0]}: {share}")


def row(name: str) -> str:
    """One network's figures."""
    model, x = built(name)
    analysed = spent(lambda: analyse(copy.deepcopy(model), x))
    analysis = analyse(model, x)
    rng = np.random.default_rng(0)
    policies = [half(analysis, rng) for _ in range(20)]
    selector = Selector(model, analysis)
    selects = [spent(lambda k=kept: selector.select(k)) for kept in policies]
    cuts = [spent(lambda k=kept: cut(model, analysis, k)) for kept in policies]
    images = torch.randn(16, *x.shape[1:])
    small, selected = cut(model, analysis, policies[0]), selector.select(policies[0])
    both = [(evaluated(selected, images), evaluated(small, images)) for _ in range(9)]
    evals = " / ".join(f"{statistics.median(times):.1f}" for times in zip(*both, strict=True))
    ours = f"{name:14}{analysed:10.0f}{statistics.median(selects):8.2f}{statistics.median(cuts):8.1f}{evals:>27}"
    return ours + theirs(model, x)


def theirs(model: nn.Module, x: Tensor) -> str:
    """Torch-Pruning's constructor and step."""
    if importlib.util.find_spec("torch_pruning") is None:
        return f"{'not installed':>30}"
    import torch_pruning

    mine = copy.deepcopy(model)
    last = [module for module in mine.modules() if isinstance(module, nn.Linear)][-1:]
    importance = torch_pruning.importance.MagnitudeImportance(p=1)
    made = []
    build = spent(
        lambda: made.append(
            torch_pruning.pruner.BasePruner(mine, x, importance=importance, pruning_ratio=0.5, ignored_layers=last)
        )
    )
    return f"{build:22.0f}{spent(made[0].step):8.0f}"


def memory(name: str, candidates: int) -> tuple[int, int]:
    """Growth of resident memory over that many candidates, selected and evaluated; and what it was before."""
    model, x = built(name)
    analysis = analyse(model, x)
    selector, rng, process = Selector(model, analysis), np.random.default_rng(1), psutil.Process()

    def candidate() -> None:
        evaluated(selector.select(half(analysis, rng)), x)

    for _ in range(50):
        candidate()
    before = process.memory_info().rss
    for _ in range(candidates):
        candidate()
    return process.memory_info().rss - before, before


def built(name: str) -> tuple[nn.Module, Tensor]:
    """A network of the zoo for three colours, and one image."""
    return getattr(models, name)(in_channels=3).eval(), torch.randn(1, 3, 32, 32)


def half(analysis: Analysis, rng: np.random.Generator) -> dict[str, list[int]]:
    """Half of every group's units."""
    return {g.name: sorted(rng.permutation(g.width)[: max(1, g.width // 2)].tolist()) for g in analysis.groups}


def evaluated(model: nn.Module, images: Tensor) -> float:
    """Milliseconds of a forward pass."""
    with torch.no_grad():
        return spent(lambda: model(images))


def spent(call: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    before = time.process_time()
    call()
    return (time.process_time() - before) * 1e3


if __name__ == "__main__":
    main()
