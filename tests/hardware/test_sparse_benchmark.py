"""The benchmark of sparse tensor cores: its layers, its tables, and one line where there is no GPU."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from autoprune.hardware.sparse_kernels.rules import BACKENDS, why_not


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "sparse_tensor_cores.py"
    spec = importlib.util.spec_from_file_location("sparse_tensor_cores", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_layers_are_those_that_kernels_can_run(benchmark):
    layers = benchmark.layers_at(8)
    assert len(layers) == 12
    assert all(why_not(layer, "f16", backend) is None for layer in layers.values() for backend in BACKENDS.values())
    assert layers["ViT-B fc1"].batch == 8 * 197


def test_its_tables_show_what_was_measured_and_what_was_not(benchmark):
    ratio = {"median": 0.5, "least": 0.4, "most": 0.6}
    fast = {"name": "fc1", "batch": 8, "chosen": "sparse", "latency_dense_ms": 2.0, "latency_sparse_ms": 1.0}
    slow = {"name": "odd", "batch": 8, "chosen": "dense", "latency_dense_ms": None, "latency_sparse_ms": None}
    content = {
        "device": "gpu Example",
        "layers": [fast | {"ratio": ratio}, slow | {"ratio": None}],
        "networks": [
            {"batch": 8, "runs": "chosen", "sparse_layers": 3, "latency_ms": {"dense": 4.0, "chosen": 3.0}},
        ],
    }
    text = benchmark.table(content)
    assert "gpu Example" in text
    assert "| fc1 | 8 | 2.000 | 1.000 | 0.500 | sparse |" in text
    assert "| odd | 8 | - | - | - | dense |" in text
    assert "| 8 | 4.000 | - | 3.000 | 3 | chosen |" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_ends_with_a_line_and_writes_nothing(benchmark, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["sparse_tensor_cores.py", "--out", str(tmp_path / "out.json")])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 4
    assert "cuda" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
