"""What rounding to f16 does to a network, and what llama.cpp may differ by for it."""

import copy

import pytest
import torch
from torch import nn

from autoprune.llm.gguf import write_gguf
from autoprune.llm.llamacpp import LlamaCpp, agreement, tolerance_for
from autoprune.llm.llamacpp.rounding import moved_by_f16, rounded_to_f16
from tests.support.worded_models import prose, worded_model

TEXTS = ["the state of a union is", prose(40, 9)]


def sensitive_model():
    """A network that answers rounding with more than 0.05 nats: its last norm makes logits 100 times as large."""
    network, tokenizer = worded_model()
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.model.norm.weight.mul_(100)
    return network, tokenizer


def test_matrices_and_their_inputs_are_rounded_and_weights_left_alone():
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 3)), torch.tensor([[0, 4]])
    before, plain = copy.deepcopy(network.state_dict()), network(inputs)
    with rounded_to_f16(network):
        found = network(inputs)
    table, matrix = before["0.weight"].half().float(), before["1.weight"].half().float()
    assert torch.equal(found, nn.functional.linear(table[inputs], matrix, before["1.bias"]))
    assert not torch.equal(found, plain) and torch.equal(network(inputs), plain)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_that_f16_has_are_moved_by_their_inputs_alone():
    network, tokenizer = worded_model()
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half())
    assert 0 < moved_by_f16(rounded, tokenizer, TEXTS) < 0.05


def test_the_tolerance_is_what_rounding_does_where_that_is_more():
    network, tokenizer = worded_model()
    assert tolerance_for("f32", network, tokenizer, TEXTS) == 0.01
    assert tolerance_for("f16", network, tokenizer, TEXTS) == 0.05
    assert tolerance_for("q8_0", network, tokenizer, TEXTS) == float("inf")
    network, tokenizer = sensitive_model()
    moved = moved_by_f16(network, tokenizer, TEXTS)
    assert moved > 0.05 and tolerance_for("f16", network, tokenizer, TEXTS) == pytest.approx(2 * moved)
    assert tolerance_for("f32", network, tokenizer, TEXTS) == 0.01


def test_an_overflow_of_f16_excuses_nothing():
    network, tokenizer = sensitive_model()
    with torch.no_grad():
        network.model.layers[0].mlp.down_proj.weight[0, 0] = 1e6
    assert tolerance_for("f16", network, tokenizer, TEXTS) == 0.05


def test_a_sensitive_network_agrees_within_it_and_in_f32_as_any_other(tmp_path):
    pytest.importorskip("xllamacpp")
    network, tokenizer = sensitive_model()
    for number_format in ("f32", "f16"):
        written = write_gguf(network, tokenizer, tmp_path / f"{number_format}.gguf", number_format)
        limit = tolerance_for(number_format, network, tokenizer, TEXTS)
        with LlamaCpp(written.path, context=128) as session:
            found = agreement(network, tokenizer, session, TEXTS, predict=4, tolerance=limit)
        assert found.holds, found
