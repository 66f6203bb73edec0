"""Which layers sparse tensor cores can run: the table of torch's kernels, and one reason in words for the others."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.sparse import SparseSemiStructuredTensorCUSPARSELT, SparseSemiStructuredTensorCUTLASS

import autoprune
from autoprune.errors import InputError
from autoprune.hardware import Layer
from autoprune.hardware.sparse_kernels.rules import BACKENDS, Gpu, backends_for, product_sizes, why_not

ROOT = Path(__file__).resolve().parents[2]
AMPERE, HOPPER = Gpu((8, 0), cusparselt=True), Gpu((9, 0), cusparselt=True)
WIDE = Layer("linear", 768, 3072, batch=197)
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}


@pytest.mark.parametrize(
    ("backend", "torchs"),
    [("cusparselt", SparseSemiStructuredTensorCUSPARSELT), ("cutlass", SparseSemiStructuredTensorCUTLASS)],
)
def test_sizes_are_those_that_torch_asks_for(backend, torchs):
    constraints = torchs._DTYPE_SHAPE_CONSTRAINTS
    for precision, multiples in BACKENDS[backend].multiples.items():
        of_torch = constraints[DTYPES[precision]]
        assert (multiples.outputs, multiples.inputs) == (of_torch.sparse_min_rows, of_torch.sparse_min_cols)
    others = constraints.keys() - {DTYPES[precision] for precision in BACKENDS[backend].multiples}
    assert others <= {torch.float32, torch.float8_e4m3fn}  # 1:2, and products with scales only


@pytest.mark.parametrize(
    ("layer", "precision", "gpu", "names"),
    [
        (WIDE, "f16", AMPERE, ["cusparselt", "cutlass"]),
        (WIDE, "bf16", HOPPER, ["cusparselt"]),
        (WIDE, "f16", Gpu((8, 6), cusparselt=False), ["cutlass"]),
        (replace(WIDE, inputs=48), "f16", AMPERE, ["cusparselt"]),
        (replace(WIDE, inputs=576), "int8", AMPERE, ["cusparselt"]),
        (Layer("conv", 64, 128, kernel=(3, 3), size=(14, 14)), "f16", AMPERE, ["cusparselt", "cutlass"]),
        (Layer("conv", 64, 128, kernel=(1, 1), size=(14, 14)), "f16", AMPERE, ["cusparselt", "cutlass"]),
    ],
)
def test_layers_that_can(layer, precision, gpu, names):
    able, reason = backends_for(layer, precision, gpu)
    assert [each.name for each in able] == names
    assert reason is None


@pytest.mark.parametrize(
    ("layer", "precision", "gpu", "words"),
    [
        (WIDE, "f16", Gpu((7, 5), cusparselt=True), ["compute capability 7.5", "begin with 8.0"]),
        (WIDE, "f16", Gpu((9, 0), cusparselt=False), ["no cuSPARSELt", "kernels in torch are for 8.x"]),
        (WIDE, "f32", AMPERE, ["1:2 and not 2:4", "f16, bf16"]),
        (replace(WIDE, outputs=10), "f16", AMPERE, ["multiples of 16 in f16", "there are 10"]),
        (replace(WIDE, inputs=72), "f16", AMPERE, ["needs inputs in multiples of 16", "there are 72"]),
        (Layer("conv", 64, 64, kernel=(3, 3), groups=64), "f16", AMPERE, ["64 groups"]),
        (Layer("conv", 3, 64, kernel=(7, 7)), "f16", AMPERE, ["3 input channels", "multiple of 4"]),
        (Layer("pool", 64, 64), "f16", AMPERE, ["no weight"]),
    ],
)
def test_layers_that_cannot_say_why_in_one_line(layer, precision, gpu, words):
    able, reason = backends_for(layer, precision, gpu)
    assert able == ()
    assert all(word in reason for word in words)
    assert "\n" not in reason


def test_a_kernel_counts_among_the_inputs():
    assert product_sizes(Layer("conv", 8, 32, kernel=(2, 2))) == (32, 32)
    assert why_not(Layer("conv", 8, 32, kernel=(2, 2)), "f16", BACKENDS["cusparselt"]) is None
    assert why_not(Layer("linear", 8, 32), "f16", BACKENDS["cusparselt"]) is not None


def test_the_table_of_the_docs_is_the_table_of_the_code():
    text = (ROOT / "docs" / "sparse-tensor-cores.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, flags=re.MULTILINE))
    for backend in BACKENDS.values():
        sizes = [f"{precision} ({m.outputs}, {m.inputs})" for precision, m in backend.multiples.items()]
        on = ", ".join(f"{major}.x" for major in backend.majors) or "8.0 and later"
        assert rows[backend.name] == f"{', '.join(sizes)} | {on}"


def network():
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3, groups=64), nn.Flatten(), nn.Linear(64, 10))


def test_a_model_is_checked_layer_by_layer_for_a_pattern():
    assert autoprune.sparsity.check(network(), "2:4") == {
        "0": True,
        "1": "it has one input, and 2:4 keeps 2 of each group",
        "3": True,
    }
    assert autoprune.sparsity.check(network(), "1:4")["3"] is True
    assert autoprune.sparsity.check(network(), "4x4:0.5")["0"] is True


def test_and_on_request_for_kernels():
    found = autoprune.sparsity.check(network(), "2:4", backend="cusparselt")
    assert "3 input channels" in found["0"]
    assert "multiples of 16" in found["3"]


@pytest.mark.parametrize(
    ("pattern", "backend", "word"),
    [("4:8", "cutlass", "need not be 2:4"), ("2:4", "cusparse", "did you mean"), ("5:4", None, "keeps 5 of 4")],
)
def test_what_cannot_be_asked_is_named(pattern, backend, word):
    with pytest.raises(InputError, match=word):
        autoprune.sparsity.check(network(), pattern, backend=backend)
