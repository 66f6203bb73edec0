"""SmolLM2-135M with fewer blocks, in stock llama.cpp and stock transformers."""

import pytest
import torch

from autoprune.errors import InputError
from autoprune.llm.gguf import write_gguf
from autoprune.llm.llamacpp import LlamaCpp, agreement
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import load_folder, save_folder
from autoprune.llm.models.load import load_language_model
from autoprune.llm.structured.stack import without_blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TEXTS = [
    "The capital of France is",
    "My fellow Americans, tonight I want to talk about",
    "In 1969 they paid 12.50€;  naïve",
]


def test_three_blocks_less_compute_the_same_elsewhere(tmp_path):
    pytest.importorskip("xllamacpp")
    try:
        model = load_language_model("smollm2", torch.float32)
    except InputError as error:
        pytest.skip(str(error))
    small = LanguageModel(without_blocks(model.network, [9, 21, 25]), model.tokenizer, "smaller")
    del model
    save_folder(small, tmp_path / "hf")
    ids = torch.tensor([small.tokenizer(TEXTS[1])["input_ids"]])
    with torch.no_grad():
        expected = small.network(input_ids=ids).logits
        assert torch.equal(load_folder(tmp_path / "hf", "again").network(input_ids=ids).logits, expected)
    written = write_gguf(small.network, small.tokenizer, tmp_path / "it.gguf", "f16")
    assert written.bytes < 0.95 * 270_900_000  # dense f16: 2 bytes for each of 134.5 million parameters, and tokens
    with LlamaCpp(written.path, context=128) as session:
        found = agreement(small.network, small.tokenizer, session, TEXTS, predict=6, tolerance=0.05)
    assert found.holds, found
