"""What large networks take: memory in proportion to their widths, time in proportion to a small input."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph import Analysis, analyse
from autoprune.graph.proof import network_copy, sizes, smaller_inputs
from autoprune.graph.proof.runs import Runs
from autoprune.graph.trace.export import Trace, trace
from autoprune.models.inputs.example import Example
from tests.graph.test_patterns import CASES
from tests.support.nets.whole_models import MODELS


class Perceptron(nn.Module):
    """A residual perceptron of a transformer's form."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(x)))


def test_coupling_takes_few_bytes_a_weight():
    net = nn.Sequential(nn.Linear(16, 512), *(Perceptron(512, 2048) for _ in range(4)), nn.Linear(512, 4))
    weights = sum(p.numel() for p in net.parameters())
    analyse(nn.Linear(2, 2), torch.zeros(1, 2), validate=False)  # the first export imports much of torch
    tracemalloc.start()
    analysis = analyse(net, torch.zeros(1, 16), validate=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(group.width for group in analysis.groups) == [512, 2048, 2048, 2048, 2048]
    assert peak < 2 * weights, f"{peak / weights:.1f} bytes a weight"


class Stages(nn.Module):
    """Residual stages; what the second one's hidden units are scaled by is the caller's."""

    def __init__(self, scale: Callable[[torch.Tensor], float]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.up = nn.ModuleList(nn.Conv2d(8, 12, 3, padding=1) for _ in range(4))
        self.norm = nn.ModuleList(nn.BatchNorm2d(12) for _ in range(4))
        self.down = nn.ModuleList(nn.Conv2d(12, 8, 3, padding=1) for _ in range(4))
        self.head = nn.Linear(8, 5)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for place, (up, norm, down) in enumerate(zip(self.up, self.norm, self.down, strict=True)):
            hidden = norm(up(x)).relu()
            x = x + down(hidden * self.scale(hidden) if place == 1 else hidden)
        return self.head(x.mean((2, 3)))


GUILTY = {
    "none": lambda hidden: 1.0,
    "at every size": lambda hidden: float(hidden.shape[1]),
    "at full size only": lambda hidden: float(hidden.shape[1]) if hidden.shape[2] > 40 else 12.0,
    "at a small size only": lambda hidden: float(hidden.shape[1]) if hidden.shape[2] < 40 else 12.0,
}


IMAGES = [name for name, case in CASES.items() if len(case.shape) == 4]


def described(analysis: Analysis) -> tuple[object, ...]:
    groups = [(g.name, g.width, g.kind, g.oracle, g.least, g.producers, g.consumers) for g in analysis.groups]
    return groups, dict(analysis.frozen)


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Networks of any size are proven at smaller inputs; the heights of those inputs."""
    used: list[int] = []

    def noted(model: nn.Module, example: Example) -> Trace:
        traced = trace(model, example)
        used.extend(tensor.shape[-2] for tensor in example.tensors() if tensor.dim() > 3)
        return traced

    monkeypatch.setattr(sizes, "trace", noted)
    yield used


@pytest.mark.parametrize("name", GUILTY)
def test_a_guilty_group_among_good_ones_is_found_at_whatever_size_it_is(
    name: str, everything_is_large: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(1, 3, 160, 192)
    plain = analyse(Stages(GUILTY[name]), x)
    assert not everything_is_large
    monkeypatch.setattr(sizes, "LARGE", 0)
    assert described(analyse(Stages(GUILTY[name]), x)) == described(plain)
    assert everything_is_large[0] == 64
    assert ("up.1" in plain.frozen) == (name in ("at every size", "at full size only"))
    assert {"up.0", "up.2", "up.3"} <= {group.name for group in plain.groups}


def test_a_large_network_is_proven_at_a_small_input(
    everything_is_large: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "LARGE", 0)
    pixels: list[int] = []

    class Watched(Stages):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pixels.append(x.shape[-1])
            return super().forward(x)

    analyse(Watched(GUILTY["none"]), torch.randn(1, 3, 160, 160), blocks=False)
    assert pixels.count(64) > 2 * pixels.count(160)


@pytest.mark.parametrize(
    "name", [name if n % 8 == 0 else pytest.param(name, marks=pytest.mark.slow) for n, name in enumerate(IMAGES)]
)
def test_the_fast_way_gives_the_same(
    name: str, everything_is_large: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smaller_inputs, "_SIDES", (16,))
    monkeypatch.setattr(smaller_inputs, "_STRIDE", 8)
    x = torch.randn(*CASES[name].shape[:2], 32, 40, generator=torch.Generator().manual_seed(0))
    try:
        plain = analyse(CASES[name].build(), x, blocks=False)
    except UnsupportedModelError:
        pytest.skip("it only takes images of one size")
    monkeypatch.setattr(sizes, "LARGE", 0)
    assert described(analyse(CASES[name].build(), x, blocks=False)) == described(plain)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama"])
def test_text_networks_are_proven_on_short_texts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same verdicts; the mask, which is as long as the text, is cut off with it."""
    entry = MODELS[name]
    ids = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:30].reshape(1, 30) + 3
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    plain = described(analyse(entry.build(), example, blocks=False))
    shapes: list[tuple[int, ...]] = []

    def noted(model: nn.Module, given: Example) -> Trace:
        shapes.extend(tuple(tensor.shape) for tensor in given.tensors())
        return trace(model, given)

    monkeypatch.setattr(sizes, "trace", noted)
    monkeypatch.setattr(sizes, "LARGE", 0)
    assert described(analyse(entry.build(), example, blocks=False)) == plain
    assert shapes == [(1, 13), (1, 13)]
    assert plain[0]


@pytest.mark.parametrize(
    "name", [name if n % 12 == 0 else pytest.param(name, marks=pytest.mark.slow) for n, name in enumerate(CASES)]
)
def test_weights_that_keep_their_precision_give_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is silent is read as 0, in half of the memory."""
    x = torch.randn(CASES[name].shape, generator=torch.Generator().manual_seed(0))
    looks: list[object] = []
    seen = Runs.seen
    monkeypatch.setattr(Runs, "seen", lambda runs, kept: looks.append(found := seen(runs, kept)) or found)
    plain, looked = described(analyse(CASES[name].build(), x)), list(looks)
    looks.clear()
    monkeypatch.setattr(network_copy, "LARGE", 0)
    monkeypatch.setattr(network_copy, "MATRIX", 0)
    assert described(analyse(CASES[name].build(), x)) == plain
    assert looks == looked  # what shows in the outputs, by gradients


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_text_networks_are_proven_on_weights_of_their_own_precision(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = MODELS[name]
    ids = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:30].reshape(1, 30) + 3
    plain = described(analyse(entry.build(), {"input_ids": ids}, blocks=False))
    monkeypatch.setattr(network_copy, "LARGE", 0)
    monkeypatch.setattr(network_copy, "MATRIX", 0)
    assert described(analyse(entry.build().to(dtype), {"input_ids": ids}, blocks=False)) == plain
    assert plain[0]


_PEAK = """
import resource, sys, torch
from torch import nn
from autoprune.graph import analyse
from autoprune.graph.proof import network_copy
from tests.graph.test_full_size import Perceptron
network_copy.LARGE = 2**20
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
analyse(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), torch.zeros(1, 8))
net = nn.Sequential(nn.Linear(16, 512), *(Perceptron(512, 2048) for _ in range(12)), nn.Linear(512, 4))
before = peak()
groups = analyse(net, torch.zeros(1, 16), blocks=False).groups
print(len(groups), (peak() - before) / sum(4 * p.numel() for p in net.parameters()))
"""


def test_a_large_network_is_proven_without_a_copy_in_double_precision():
    """Which alone is twice the weights: here it is a copy of them, and what a cut leaves of another."""
    plain = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is let go of is given back at once
    done = subprocess.run([sys.executable, "-c", _PEAK], env=plain, capture_output=True, text=True, check=True)
    groups, share = done.stdout.split()
    assert int(groups) == 13
    assert float(share) < 2, f"{share} times the weights"
