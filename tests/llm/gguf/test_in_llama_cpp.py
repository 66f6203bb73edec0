"""Stock llama.cpp computes from our files what PyTorch computes: log-probabilities, continuation, tokens."""

import copy

import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.hardware import Protocol
from autoprune.llm.gguf import write_gguf
from autoprune.llm.llamacpp import LlamaCpp, agreement, time_files
from autoprune.llm.search.decisions import read_levers
from autoprune.llm.structured import Calibration
from tests.support.worded_models import prose, worded_model

pytest.importorskip("xllamacpp")

TEXTS = ["the state of a union is", "In 1969, naïve café — 東京 costs  3.14€;\n\n  we'll\tsee", prose(60, 9)]


def compared(network, tokenizer, path, number_format="f32", tolerance=0.005):
    write_gguf(network, tokenizer, path, number_format)
    with LlamaCpp(path, context=256) as session:
        return agreement(network, tokenizer, session, TEXTS, predict=8, tolerance=tolerance)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        pytest.param("llama", {"tie_word_embeddings": False}, marks=pytest.mark.slow),
        pytest.param("qwen2", {}, marks=pytest.mark.slow),
    ],
)
def test_a_network_computes_the_same_in_llama_cpp(tmp_path, kind, changes):
    found = compared(*worded_model(kind, **changes), tmp_path / "it.gguf")
    assert found.holds, found
    assert found.mean < 0.001 and found.tokens == (3, 3)


def test_tokens_that_end_within_a_letter_are_compared_too(tmp_path):
    network, tokenizer = worded_model()
    begins_a_letter = tokenizer.convert_tokens_to_ids("Ã")  # the byte 0xC3
    with torch.no_grad():
        network.get_output_embeddings().weight[begins_a_letter] = 0.5 * network.get_output_embeddings().weight[
            -60:
        ].sum(0)
    found = compared(network, tokenizer, tmp_path / "it.gguf")
    assert found.holds and found.mean < 0.001, found


@pytest.mark.slow
def test_another_network_does_not_agree(tmp_path):
    network, tokenizer = worded_model()
    write_gguf(network, tokenizer, tmp_path / "it.gguf", "f32")
    with torch.no_grad():
        network.model.layers[1].self_attn.k_proj.weight.mul_(1.3)
    with LlamaCpp(tmp_path / "it.gguf", context=256) as session:
        found = agreement(network, tokenizer, session, TEXTS, predict=8, tolerance=0.005)
    assert not found.holds and found.largest > 0.02


def test_widths_and_heads_that_differ_from_block_to_block(tmp_path):
    network, tokenizer = worded_model(head_dim=16)
    network = copy.deepcopy(network)
    narrow = network.model.layers[1].mlp
    for layer in (narrow.gate_proj, narrow.up_proj):
        layer.weight = nn.Parameter(layer.weight[:40].clone())
    narrow.down_proj.weight = nn.Parameter(narrow.down_proj.weight[:, :40].clone())
    attention = network.model.layers[0].self_attn  # one head of keys and values left, with its two of queries
    for layer, rows in ((attention.q_proj, 32), (attention.k_proj, 16), (attention.v_proj, 16)):
        layer.weight = nn.Parameter(layer.weight[:rows].clone())
    attention.o_proj.weight = nn.Parameter(attention.o_proj.weight[:, :32].clone())
    found = compared(network, tokenizer, tmp_path / "it.gguf")
    assert found.holds, found


@pytest.mark.slow
def test_sizes_that_a_search_gives_each_block(tmp_path):
    network, tokenizer = worded_model(num_hidden_layers=3)
    windows = torch.arange(64).reshape(2, 32) + 5
    only = ("blocks", "hidden", "heads", "ffn-by-block")
    levers = read_levers(network, Calibration(windows), lambda key, compute: compute(), only)
    widths = {d.name: d.options[place % len(d.options)] for place, d in enumerate(levers.space.decisions)}
    found = compared(levers.cut(widths | {"blocks": 2}), tokenizer, tmp_path / "it.gguf")
    assert found.holds and found.mean < 0.001, found


def test_a_block_without_attention(tmp_path):
    network, tokenizer = worded_model(num_hidden_layers=3)
    silent = copy.deepcopy(network)
    with torch.no_grad():
        silent.model.layers[1].self_attn.o_proj.weight.zero_()
    del network.model.layers[1].self_attn, network.model.layers[1].input_layernorm
    written = write_gguf(network, tokenizer, tmp_path / "it.gguf", "f32")
    assert written.architecture == "deci"
    with LlamaCpp(written.path, context=256) as session:
        found = agreement(silent, tokenizer, session, TEXTS, predict=8, tolerance=0.005)
    assert found.holds, found


def test_a_block_without_a_feed_forward_part_is_refused(tmp_path):
    network, tokenizer = worded_model()
    del network.model.layers[1].mlp, network.model.layers[1].post_attention_layernorm
    with pytest.raises(InputError, match="passes over the attention of a block that has no feed-forward part"):
        write_gguf(network, tokenizer, tmp_path / "it.gguf")


def test_a_first_block_without_attention_is_refused(tmp_path):
    network, tokenizer = worded_model()
    del network.model.layers[0].self_attn, network.model.layers[0].input_layernorm
    with pytest.raises(InputError, match="at the first block, which has no attention"):
        write_gguf(network, tokenizer, tmp_path / "it.gguf")


@pytest.mark.slow
def test_a_quantised_file_computes_what_its_own_weights_say(tmp_path):
    gguf = pytest.importorskip("gguf")
    network, tokenizer = worded_model()
    write_gguf(network, tokenizer, tmp_path / "it.gguf", "q8_0")
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                kind = gguf.GGMLQuantizationType.Q8_0
                rounded = gguf.quants.dequantize(gguf.quants.quantize(parameter.numpy(), kind), kind)
                parameter.copy_(torch.from_numpy(rounded))
    with LlamaCpp(tmp_path / "it.gguf", context=256) as session:
        found = agreement(network, tokenizer, session, TEXTS, predict=8, tolerance=0.3)
    assert found.mean < 0.05 and found.tokens == (3, 3), found  # activations are rounded to 8 bits, too


def test_prefill_and_decode_are_timed_at_a_context(tmp_path):
    network, tokenizer = worded_model()
    write_gguf(network, tokenizer, tmp_path / "small.gguf", "f32")
    large, _ = worded_model(num_hidden_layers=8, intermediate_size=768)
    write_gguf(large, tokenizer, tmp_path / "large.gguf", "f32")
    quick = Protocol(block=0.01, warmup=1, least_blocks=3, most_blocks=6, agreement=0.2, closing=0)
    small, large = time_files([tmp_path / "small.gguf", tmp_path / "large.gguf"], context=64, tokens=4, protocol=quick)
    assert small.context == large.context == 64 and small.tokens == 4
    assert small.decode_tokens_per_second == pytest.approx(1000 / (small.decode.ms / 4))
    assert large.prefill.ms > 1.5 * small.prefill.ms  # eight times the work; a call costs about a millisecond by itself
    assert large.decode.ms > small.decode.ms
