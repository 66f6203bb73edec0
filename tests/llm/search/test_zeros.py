"""N:M zeros of each block as decisions: whose masks they are, what they cost, and that a training holds them."""

import json
from dataclasses import replace

import pytest
import torch

import autoprune
from autoprune.errors import InputError
from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.blocks.storage import WholeNetwork
from autoprune.llm.jobs.compress_settings import CompressSettings
from autoprune.llm.search.budget import DECISIONS, LanguageBudget, ZerosPlan
from autoprune.llm.search.counted import nonzeros_cost, params_cost
from autoprune.llm.search.decisions import read_levers
from autoprune.llm.search.pricing import Counted
from autoprune.llm.search.sliced import SlicedNetworks
from autoprune.llm.search.zeros import read_zeros
from autoprune.llm.sparsity.sparse_gpt import SparseGpt
from autoprune.llm.sparsity.walk import OneShotPlan, prune_blocks
from autoprune.llm.sparsity.wanda import Wanda
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.judge import mean_loss
from autoprune.masks.n_of_m import NofM
from tests.support.language_models import language_model, prose

WINDOWS = torch.randint(0, 250, (4, 24), generator=torch.Generator().manual_seed(0))
EVERY = (*(name for name in DECISIONS if name != "ffn"), "ffn-by-block", "nm")
ONE_TO_THREE = ZerosPlan.of("1:4,2:4,3:4", "wanda")


def levers_of(only=EVERY, plan=ONE_TO_THREE, **given):
    network = language_model(**{"num_hidden_layers": 3, **given}).network
    return read_levers(network, Calibration(WINDOWS), lambda key, compute: compute(), only, plan)


@pytest.fixture(scope="module")
def levers():
    return levers_of()


def stays(network):
    """Parameters that are not zero, or are it by themselves: biases, and the embedding of a token that fills up."""
    return sum(
        p.numel() if p.ndim < 2 or p is network.get_input_embeddings().weight else int((p != 0).sum())
        for p in network.parameters()
    )


def linear_weights(network, block):
    return {n: p for n, p in network.model.layers[block].named_parameters() if p.ndim == 2}


def test_each_block_has_its_own_n(levers):
    assert levers.space.names[-3:] == ("nm.0", "nm.1", "nm.2") and levers.space.decisions[-1].options == (1, 2, 3, 4)
    small = levers.cut({"nm.0": 2, "nm.2": 1})
    shares = [[float((p != 0).float().mean()) for p in linear_weights(small, b).values()] for b in range(3)]
    assert shares == [[0.5] * 7, [1.0] * 7, [0.25] * 7]
    assert all(NofM(2, 4).fault((p != 0)[None]) is None for p in linear_weights(small, 0).values())
    dense = language_model(num_hidden_layers=3).network.state_dict()
    assert all(torch.equal(tensor, dense[name]) for name, tensor in levers.network.state_dict().items())


@pytest.mark.parametrize(("by", "method"), [("wanda", Wanda()), ("sparsegpt", SparseGpt())])
def test_the_first_block_is_what_the_method_makes_of_it(levers, by, method):
    """Blocks behind it differ: a pass block by block lets them read what is pruned already."""
    zeros = read_zeros(levers.stack, WINDOWS, ZerosPlan.of("2:4", by))
    found = replace(levers, zeros=zeros).cut({"nm.0": 2})
    other = language_model(num_hidden_layers=3).network
    prune_blocks(WholeNetwork(decoder_stack(other), None), WINDOWS, OneShotPlan(method, NofM(2, 4)))
    wanted = linear_weights(other, 0)
    for name, weight in linear_weights(found, 0).items():
        assert torch.equal(weight != 0, wanted[name] != 0)
        torch.testing.assert_close(weight, wanted[name])


CHOICES = [
    {"nm.0": 2, "nm.1": 1},
    {"blocks": 2, "nm.0": 1, "nm.1": 2, "nm.2": 3},
    {"blocks": 2, "ffn.0": 96, "ffn.1": 40, "ffn.2": 24, "hidden": 40, "heads": 1, "queries": 1, "nm.0": 2, "nm.2": 2},
]


@pytest.mark.parametrize("choices", CHOICES)
def test_slices_and_costs_are_those_of_the_proven_network(levers, choices):
    networks, wanted = SlicedNetworks(levers), levers.cut(choices)
    found = networks(choices)
    assert networks.sliced == 1 and mean_loss(found, WINDOWS) == mean_loss(wanted, WINDOWS)
    own, plain = found.state_dict(), wanted.state_dict()
    assert own.keys() == plain.keys() and all(torch.equal(own[name], plain[name]) for name in plain)
    complete = levers.space.complete(choices)
    assert nonzeros_cost(levers).cost(complete) == stays(wanted)
    assert params_cost(levers).cost(complete) == sum(p.numel() for p in wanted.parameters())


def test_widths_that_are_no_whole_number_of_groups_and_layers_the_other_way_round_are_counted_exactly():
    levers = levers_of(("hidden", "ffn", "nm"), ZerosPlan.of("2:8", "magnitude"), kind="gpt2", n_layer=2, n_inner=44)
    choices = levers.space.complete({"ffn": 11, "nm.1": 2})
    small = levers.cut(choices)
    assert small.transformer.h[1].mlp.c_proj.weight.shape == (11, 64)  # 8 + 3 inputs: 2 + 2 stay
    assert int((small.transformer.h[1].mlp.c_proj.weight != 0).sum()) == 4 * 64
    assert nonzeros_cost(levers).cost(choices) == stays(small)


def test_what_was_pruned_last_is_not_pruned_again(levers, monkeypatch):
    networks = SlicedNetworks(levers)
    networks({"nm.0": 2, "nm.1": 2})
    calls = []
    plain = Wanda.prune
    monkeypatch.setattr(Wanda, "prune", lambda *given: calls.append(1) or plain(*given))
    networks({"nm.0": 2, "nm.1": 2})
    assert not calls
    networks({"nm.0": 2, "nm.1": 3})
    assert len(calls) == 7
    networks({"nm.0": 2, "ffn.0": 40})  # gate, up and down of the block
    assert len(calls) == 10


def test_a_share_of_what_may_be_other_than_zero_is_one_of_the_parameters(levers):
    pricing = Counted(LanguageBudget.of({"nonzeros": "60%"}), levers, {"params": 1, "bytes": 1})
    dense = sum(p.numel() for p in levers.network.parameters())
    assert pricing.limit == 0.6 * dense and pricing.cost.dense == dense
    choices = {f"nm.{block}": 2 for block in range(3)}
    measured = pricing.measure(levers.cut(choices))
    assert measured.cost == pricing.cost.cost(levers.space.complete(choices)) - 64  # the embedding that fills up is 0


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"params": "70%", "decisions": "ffn,nm"}, "nm leaves zeros, of which --params gets no less; give --nonzeros"),
        ({"nonzeros": "70%", "patterns": "4:4"}, "--patterns 4:4: write N:M such as 2:4 or 1:4,2:4, N from 1 to M - 1"),
        ({"nonzeros": "70%", "patterns": "half"}, "--patterns half: write N:M"),
        ({"params": "70%", "decisions": "heads-by-block,queries"}, "queries is one number for all blocks"),
        ({"nonzeros": "70%", "patterns": "2:4,4:8"}, "--patterns 2:4,4:8: groups are of one size"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given, line):
    with pytest.raises(InputError) as caught:
        CompressSettings.build({"calibration": "text", **given})
    assert line in str(caught.value) and "\n" not in str(caught.value)


def compressed(tmp_path, **settings):
    (tmp_path / "learn.txt").write_text(prose(400))
    (tmp_path / "speech.txt").write_text(prose(300, seed=1))
    return autoprune.llm.compress(
        language_model(num_hidden_layers=3), calibration=str(tmp_path / "learn.txt"), text=str(tmp_path / "speech.txt"),
        context=32, tokens=320, windows=4, window_length=32, agent="random", episodes=6, nonzeros="65%",
        decisions="ffn,nm", run=f"{tmp_path}/job", **settings,
    )  # fmt: skip


def test_a_run_delivers_zeros_that_its_training_holds(tmp_path):
    found = compressed(tmp_path, recover="full", recover_steps=3)
    report, network = found.report, found.model.network
    choices = report["details"]["choices"]
    sparse = [block for block in range(3) if choices[f"nm.{block}"] == 2]
    assert sparse and report["budget"]["met"] and report["budget"]["kind"] == "nonzeros"
    for block in range(3):
        for weight in linear_weights(network, block).values():
            assert float((weight != 0).float().mean()) == (0.5 if block in sparse else 1.0)
    assert report["recovered"]["zeros"] == report["pruned"]["zeros"] > 0
    policy = json.loads((found.run / "policy.json").read_text())
    widths, zeros = (part["choices"] for part in policy["techniques"])
    assert {**widths, **zeros} == choices and policy["techniques"][1]["technique"] == "nm"


def test_lora_would_fill_the_zeros(tmp_path):
    with pytest.raises(InputError, match="LoRA"):
        compressed(tmp_path, recover="lora")
    assert not (tmp_path / "job").exists()
