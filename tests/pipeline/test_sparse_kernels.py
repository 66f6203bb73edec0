"""`sparsify` and `bench` on a target with sparse kernels: what they say of each layer, by a formula."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.cli.main import run as call_command_line
from autoprune.errors import TargetError
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.sparse_kernels.rules import Gpu
from autoprune.pipeline.bench import compare
from autoprune.pipeline.bench.sparse_layers import layer_rows
from autoprune.pipeline.jobs.sparsify import job
from autoprune.pipeline.jobs.sparsify.kernels import kernel_rows
from autoprune.reports.bench import bench_lines, bench_tables
from autoprune.reports.sparsity import sparsity_layers, sparsity_lines
from tests.support.targets.formula_target import stairs
from tests.support.targets.sparse_target import EXTRA

SPARSE = "tests.support.targets.sparse_target:SparseTarget"
PLAIN = "tests.support.targets.formula_target:MadeUpTarget"
X = torch.zeros(1, 16, 8, 8)


class Network(nn.Module):
    """One layer where sparse kernels pay, one where they do not, one too narrow, one that is read elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(16, 64, 3, padding=1)
        self.attention = nn.MultiheadAttention(64, 2, batch_first=True)
        self.up = nn.Linear(64, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(x).relu().mean((2, 3)).unsqueeze(1)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        answer: torch.Tensor = self.head(self.up(tokens).relu()).squeeze(1)
        return answer


def loader(seed: int) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(torch.randn(16, 16, 8, 8, generator=draw), torch.arange(16) % 10), batch_size=16)


def sparsified(run: Path, target: str) -> autoprune.Result:
    data = {"train": loader(0), "search": loader(1), "test": loader(2)}
    return autoprune.sparsify(Network(), example_input=X, run=run, target=target, **data)


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"gpu": lambda: Gpu((9, 0), cusparselt=True)}
    monkeypatch.setattr(job, "kernel_rows", functools.partial(kernel_rows, **gpu))
    monkeypatch.setattr(compare, "layer_rows", functools.partial(layer_rows, **gpu))


def shown(table: Any) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_sparsify_and_bench_say_of_each_layer_what_runs_it(hopper: None, tmp_path: Path) -> None:
    result = sparsified(tmp_path / "run", SPARSE)
    rows = {row["name"]: row for row in result.report["layers"]}
    conv = Layer("conv", 16, 64, 1, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    assert rows["conv.weight"]["chosen"] == "sparse"
    assert rows["conv.weight"]["latency_dense_ms"] == pytest.approx(stairs(conv))
    assert rows["conv.weight"]["latency_sparse_ms"] == pytest.approx(EXTRA + 0.5 * stairs(conv))
    assert rows["up.weight"]["chosen"] == "dense"
    assert "not faster" in rows["up.weight"]["reason"]
    assert "multiples of 16" in rows["head.weight"]["reason"]
    assert "no linear layer or convolution of its own" in rows["attention.in_proj_weight"]["reason"]
    assert "not called itself" in rows["attention.out_proj.weight"]["reason"]
    table = shown(sparsity_layers(result.report))
    assert "sparse, ms" in table
    assert any("multiples of 16" in line for line in sparsity_lines(result.report))

    content = autoprune.bench(Network(), result.model, X, [SPARSE, PLAIN], repetitions=2)
    on_gpu, plain = (content["targets"][name]["layers"] for name in (SPARSE, PLAIN))
    assert {row["name"]: row["chosen"] for row in on_gpu} == {
        "conv": "sparse",
        "attention.out_proj": "dense",
        "up": "dense",
        "head": "dense",
    }
    assert all("multiplies with zeros" in row["reason"] for row in plain if row["name"] == "conv")
    tables, lines = bench_tables(content), bench_lines(content)
    assert len(tables) == 3
    assert "sparse ms" in shown(tables[2]) and "conv" in shown(tables[2])
    assert f"{SPARSE}: of 2 layers that sparse kernels can run, 1 are faster with them" in lines
    assert not any("faster with them" in line for line in lines if line.startswith(PLAIN))


def test_a_network_without_the_pattern_has_no_rows_of_layers() -> None:
    content = autoprune.bench(Network(), None, X, [PLAIN], repetitions=1)
    assert "layers" not in content["targets"][PLAIN]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_one_line_and_no_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TargetError, match="need an NVIDIA GPU"):
        sparsified(tmp_path / "run", SPARSE)
    assert not (tmp_path / "run" / "report.json").exists()
    words = ["bench", "resnet20", "--targets", "cuda@f16", "--shape", "1,28,28"]
    assert call_command_line(words) == 4
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("autoprune: ")]
    assert len(said) == 1
    assert "cuda" in said[0]
