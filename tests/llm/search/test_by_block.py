"""Neurons and heads of each block as decisions of their own: what is made, what it costs, what lies on disk."""

import json

import numpy as np
import pytest
import torch

import autoprune
from autoprune.llm.models.folder import load_folder, save_folder
from autoprune.llm.search.budget import DECISIONS
from autoprune.llm.search.counted import params_cost
from autoprune.llm.search.decisions import read_levers
from autoprune.llm.search.sliced import SlicedNetworks
from autoprune.llm.search.timed import fitted_cost, shapes_to_time
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.judge import mean_loss
from tests.support.language_models import language_model, prose
from tests.support.language_timers import Formula

WINDOWS = torch.randint(0, 250, (4, 24), generator=torch.Generator().manual_seed(0))
ONLY = (*(name for name in DECISIONS if name != "ffn"), "ffn-by-block")
BOTH = ("blocks", "hidden", "ffn-by-block", "heads-by-block")
FEWER = {"blocks": 2, "ffn.0": 96, "ffn.1": 40, "ffn.2": 24, "hidden": 48, "heads": 1, "queries": 1}


@pytest.fixture(scope="module")
def model():
    return language_model(num_hidden_layers=3)


@pytest.fixture(scope="module")
def levers(model):
    return read_levers(model.network, Calibration(WINDOWS), lambda key, compute: compute(), ONLY)


@pytest.fixture(scope="module")
def both(model):
    return read_levers(model.network, Calibration(WINDOWS), lambda key, compute: compute(), BOTH)


def test_every_block_has_its_own_heads(both):
    assert both.space.names == ("blocks", "hidden", "ffn.0", "ffn.1", "ffn.2", "heads.0", "heads.1", "heads.2")
    assert "not among" in both.space.frozen["queries"]
    network = both.cut({"heads.0": 1, "heads.2": 1})
    shapes = [
        (layer.self_attn.q_proj.out_features, layer.self_attn.k_proj.out_features) for layer in network.model.layers
    ]
    assert shapes == [(32, 16), (64, 32), (32, 16)]  # two query heads of 16 on each head of keys and values
    # Cutting heads is silencing what the output projection reads of them; those stay that matter most to it.
    scores = {group.name: both.scores[group.name].sum(1) for group in both.groups["heads.0"]}
    (stays,) = (int(score.argmax()) for score in scores.values())
    dense = both.network.model.layers[0].self_attn.k_proj.weight
    assert torch.equal(network.model.layers[0].self_attn.k_proj.weight, dense[16 * stays : 16 * stays + 16])


HEADS_TOO = {"blocks": 2, "hidden": 48, "ffn.1": 40, "heads.0": 1, "heads.2": 1}


def test_a_model_with_its_own_heads_in_each_block_writes_the_same_with_and_without_a_cache(both, model, tmp_path):
    save_folder(model.with_network(both.cut({**HEADS_TOO, "blocks": 3})), tmp_path / "m")
    back = load_folder(tmp_path / "m", "back").network
    wanted = both.cut({**HEADS_TOO, "blocks": 3})
    settings = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones(1, 8, dtype=torch.int64)}
    with torch.no_grad():
        assert torch.equal(back(WINDOWS).logits, wanted(WINDOWS).logits)
        written = [back.generate(WINDOWS[:1, :8], use_cache=cached, **settings) for cached in (True, False)]
    assert torch.equal(*written) and written[0].shape[1] > 8


def test_every_block_has_its_own_number_of_neurons(levers):
    assert levers.space.names == ("blocks", "hidden", "ffn.0", "ffn.1", "ffn.2", "heads", "queries")
    network = levers.cut({"ffn.0": 96, "ffn.1": 40, "ffn.2": 24})
    assert [layer.mlp.gate_proj.out_features for layer in network.model.layers] == [96, 40, 24]
    # The dense network with silent neurons is the same; those stay that matter most to the layer that reads them.
    other = levers.network.state_dict()
    uniform = read_levers(levers.network, Calibration(WINDOWS), lambda key, compute: compute(), ("ffn",))
    alike = uniform.cut({"ffn": 40}).model.layers[1].mlp
    assert torch.equal(network.model.layers[1].mlp.down_proj.weight, alike.down_proj.weight)
    assert torch.equal(network.model.layers[0].mlp.up_proj.weight, other["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.parametrize(
    ("which", "choices"),
    [
        ("levers", FEWER), ("levers", {"ffn.1": 32}), ("levers", {"blocks": 2, "ffn.0": 48}),
        ("both", HEADS_TOO), ("both", {"heads.1": 1}),
    ],
)  # fmt: skip
def test_slices_and_costs_are_those_of_the_proven_network(which, choices, request):
    levers = request.getfixturevalue(which)
    networks, wanted = SlicedNetworks(levers), levers.cut(choices)
    found = networks(choices)
    assert networks.sliced == 1 and mean_loss(found, WINDOWS) == mean_loss(wanted, WINDOWS)
    own, plain = found.state_dict(), wanted.state_dict()
    assert own.keys() == plain.keys() and all(torch.equal(own[name], plain[name]) for name in plain)
    assert params_cost(levers).cost(levers.space.complete(choices)) == sum(p.numel() for p in wanted.parameters())


def test_it_is_found_again_on_disk(model, levers, tmp_path):
    small = levers.cut(FEWER)
    save_folder(model.with_network(small), tmp_path / "m")
    back = load_folder(tmp_path / "m", "back").network
    with torch.no_grad():
        assert torch.equal(back(WINDOWS).logits, small(WINDOWS).logits)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["hidden_size"] == 48


def test_a_latency_is_fitted_with_one_price_for_the_neurons_of_all_blocks(levers):
    timer, shapes = Formula(), [levers.space.complete({}), *shapes_to_time(levers.space)]
    assert len(shapes) == 8  # dense; blocks, hidden, neurons, heads, query heads; half; least
    ms = np.array([timer.ms(levers.cut(choices)) for choices in shapes])
    cost, errors = fitted_cost(levers, shapes, ms, "decode_latency")
    assert errors.worst < 1e-3
    assert cost.cost(levers.space.complete({"ffn.0": 40})) == pytest.approx(
        timer.ms(levers.cut({"ffn.0": 40})), rel=0.01
    )


@pytest.mark.slow
def test_a_run_searches_trains_and_reports_it(model, tmp_path):
    (tmp_path / "learn.txt").write_text(prose(400))
    (tmp_path / "speech.txt").write_text(prose(300, seed=1))
    result = autoprune.llm.compress(
        model, calibration=str(tmp_path / "learn.txt"), text=str(tmp_path / "speech.txt"), context=32, tokens=320,
        windows=4, window_length=32, agent="random", episodes=4, params="85%", decisions="ffn-by-block",
        recover="full", recover_steps=2, run=f"{tmp_path}/job",
    )  # fmt: skip
    network, report = result.model.network, result.report
    stays = [report["details"]["choices"][f"ffn.{number}"] for number in range(3)]
    assert [layer.mlp.gate_proj.out_features for layer in network.model.layers] == stays
    assert report["budget"]["met"] and report["pruned"]["params"] == sum(p.numel() for p in network.parameters())
