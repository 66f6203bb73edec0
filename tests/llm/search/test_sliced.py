"""Candidates made of slices are the candidates of the plain way: config, weights and loss."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoprune.llm.search.decisions import read_levers
from autoprune.llm.search.sliced import SlicedNetworks
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.judge import mean_loss
from tests.support.language_models import language_model

WINDOWS = torch.randint(0, 250, (4, 24), generator=torch.Generator().manual_seed(0))
KINDS = {
    # Three query heads on each.
    "llama": {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16},
    "llama-untied": {},
    "qwen2": {},
    "gemma": {},
    "phi": {},
    "gpt2": {},
    "neox": {},
    "opt": {},
}


@functools.lru_cache(maxsize=1)
def levers_of(kind):
    network = language_model(kind, **KINDS[kind]).network
    return read_levers(network, Calibration(WINDOWS), lambda key, compute: compute())


def drawn(space, seed):
    draws = np.random.default_rng(seed)
    return {d.name: int(draws.choice(d.options)) for d in space.decisions}


def test_what_is_not_cut_is_shared_and_what_a_config_may_say_otherwise_goes_the_plain_way():
    levers = levers_of("llama")
    found = SlicedNetworks(levers)({"ffn": 48})
    mine, dense = found.model.layers[0], levers.network.model.layers[0]
    assert mine.self_attn.q_proj.weight.data_ptr() == dense.self_attn.q_proj.weight.data_ptr()
    assert mine.mlp.up_proj.weight.shape == (48, 96)
    assert found.lm_head.weight is found.model.embed_tokens.weight
    # A config that was proven says something of neurons that no rule explains: nothing is put together then.
    odd = levers.cut({"ffn": 24}).config
    odd.initializer_range = 0.5
    networks = SlicedNetworks(replace(levers, at_least={**levers.at_least, "ffn": odd}))
    assert mean_loss(networks({"ffn": 48}), WINDOWS) == mean_loss(found, WINDOWS) and networks.sliced == 0


@pytest.mark.parametrize(
    "kind", [kind if kind in ("llama", "gpt2") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_slices_are_the_network_of_the_plain_way(kind):
    levers = levers_of(kind)
    before = {name: tensor.clone() for name, tensor in levers.network.state_dict().items()}
    networks = SlicedNetworks(levers)
    least = {d.name: d.options[0] for d in levers.space.decisions}
    policies = [{}, least, *(drawn(levers.space, seed) for seed in range(2 if kind in ("llama", "gpt2") else 6))]
    for choices in policies:
        found, wanted = networks(choices), levers.cut(choices)
        assert found.config.to_dict() == wanted.config.to_dict(), choices
        own, plain = found.state_dict(), wanted.state_dict()
        assert own.keys() == plain.keys() and all(torch.equal(own[name], plain[name]) for name in plain), choices
        assert dict(found.named_buffers()).keys() == dict(wanted.named_buffers()).keys()
        assert mean_loss(found, WINDOWS) == mean_loss(wanted, WINDOWS)
    assert networks.sliced == len(policies)
    assert all(torch.equal(tensor, before[name]) for name, tensor in levers.network.state_dict().items())
