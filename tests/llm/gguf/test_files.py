"""What lies in a GGUF file: sizes, tokenizer, number formats; and models that are refused, with the reason."""

import numpy as np
import pytest
from tokenizers import models, pre_tokenizers
from transformers import AutoModelForCausalLM, GemmaConfig, GPT2Config

from autoprune.errors import InputError
from autoprune.llm.gguf import FORMATS, write_gguf
from tests.support.worded_models import word_tokenizer, worded_model

gguf = pytest.importorskip("gguf")


def fields(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def test_a_file_says_the_sizes_and_the_tokenizer(tmp_path):
    network, tokenizer = worded_model(rope_parameters={"rope_theta": 5000.0, "rope_type": "default"})
    written = write_gguf(network, tokenizer, tmp_path / "it.gguf", "f16")
    assert written.bytes == (tmp_path / "it.gguf").stat().st_size and not written.coarse
    said = fields(tmp_path / "it.gguf")
    assert said["general.architecture"] == "llama" and said["general.file_type"] == 1
    assert said["llama.block_count"] == 2 and said["llama.embedding_length"] == 64
    assert said["llama.attention.head_count"] == 4 and said["llama.attention.head_count_kv"] == 2
    assert said["llama.rope.freq_base"] == 5000.0 and said["llama.attention.key_length"] == 16
    assert said["tokenizer.ggml.pre"] == "smollm" and len(said["tokenizer.ggml.tokens"]) == len(tokenizer)
    assert said["tokenizer.ggml.tokens"][tokenizer.eos_token_id] == "<|end|>"
    assert said["tokenizer.ggml.token_type"][tokenizer.eos_token_id] == 3  # control
    assert said["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id


@pytest.mark.parametrize("number_format", FORMATS)
def test_tensors_are_stored_in_the_format_that_was_asked_for(tmp_path, number_format):
    network, tokenizer = worded_model()
    write_gguf(network, tokenizer, tmp_path / "it.gguf", number_format)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "it.gguf").tensors}
    assert "output.weight" not in tensors  # tied: stored once
    kind = gguf.GGMLQuantizationType[FORMATS[number_format].matrices]
    down = tensors["blk.1.ffn_down.weight"]
    own = network.model.layers[1].mlp.down_proj.weight.detach().numpy()
    assert down.tensor_type == kind and tensors["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    expected = gguf.quants.dequantize(gguf.quants.quantize(own, kind), kind)
    np.testing.assert_array_equal(gguf.quants.dequantize(down.data, kind), expected)


def test_rows_that_are_no_whole_blocks_stay_f16_and_are_named(tmp_path):
    network, tokenizer = worded_model(intermediate_size=72)
    written = write_gguf(network, tokenizer, tmp_path / "it.gguf", "q8_0")
    assert written.coarse == ("blk.0.ffn_down.weight", "blk.1.ffn_down.weight")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "scaled by 'yarn'"),
        ({"hidden_act": "gelu"}, "activation is 'gelu'"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path, change, reason):
    network, tokenizer = worded_model()
    for name, value in change.items():
        setattr(network.config, name, value)
    with pytest.raises(InputError, match=reason):
        write_gguf(network, tokenizer, tmp_path / "it.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=400),
        GemmaConfig(
            num_hidden_layers=1, hidden_size=32, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1,
            head_dim=16, vocab_size=400,
        ),
    ],
)  # fmt: skip
def test_other_architectures_are_refused(tmp_path, config):
    network = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match=f"types llama, mistral, qwen2, not for {config.model_type}"):
        write_gguf(network, word_tokenizer(), tmp_path / "it.gguf")


def test_tokenizers_that_llama_cpp_has_no_name_for_are_refused(tmp_path):
    network, tokenizer = worded_model()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.raises(InputError, match="no name for how this tokenizer splits text"):
        write_gguf(network, tokenizer, tmp_path / "it.gguf")
    tokenizer.backend_tokenizer.model = models.WordPiece(vocab={"a": 0, "[UNK]": 1}, unk_token="[UNK]")
    with pytest.raises(InputError, match="byte-level BPE tokenizers, not for this WordPiece"):
        write_gguf(network, tokenizer, tmp_path / "it.gguf")


def test_an_unknown_format_names_the_nearest(tmp_path):
    network, tokenizer = worded_model()
    with pytest.raises(InputError, match="q4_0"):
        write_gguf(network, tokenizer, tmp_path / "it.gguf", "q4_O")
