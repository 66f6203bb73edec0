"""What a search may change, what it costs, and that what it makes is what it says."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autoprune.llm.search.budget import LanguageBudget
from autoprune.llm.search.counted import bytes_cost, params_cost
from autoprune.llm.search.decisions import read_levers
from autoprune.llm.search.pricing import Counted, file_overhead
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.ffn import FeedForward
from autoprune.llm.structured.heads import Heads
from autoprune.llm.structured.stack import without_blocks
from tests.support.language_models import language_model

WINDOWS = torch.randint(0, 250, (4, 24), generator=torch.Generator().manual_seed(0))


def levers_of(kind, **changes):
    return read_levers(language_model(kind, **changes).network, Calibration(WINDOWS), lambda key, compute: compute())


@pytest.fixture(scope="module")
def llama():
    return levers_of("llama")


def test_a_llama_has_five_decisions(llama):
    assert {d.name: (d.options[0], d.options[-1], len(d.options)) for d in llama.space.decisions} == {
        "blocks": (1, 2, 2),
        "ffn": (24, 96, 10),
        "hidden": (32, 64, 5),
        "heads": (1, 2, 2),
        "queries": (1, 2, 2),
    }
    assert not llama.space.frozen


OTHERS = ["llama-untied", "gemma", "qwen2", "phi", "gpt2"]


@pytest.mark.parametrize("kind", ["llama", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
def test_parameters_are_counted_without_making_the_network(kind, llama):
    levers = llama if kind == "llama" else levers_of(kind)
    cost, in_bytes = params_cost(levers), bytes_cost(levers)
    least = {d.name: d.options[0] for d in levers.space.decisions}
    draws = np.random.default_rng(0)
    drawn = {d.name: int(draws.choice(d.options)) for d in levers.space.decisions}
    for choices in [least, drawn]:
        counted = sum(p.numel() for p in levers.cut(choices).parameters())
        assert cost.cost(choices) == counted and in_bytes.cost(choices) == 4 * counted


def test_what_no_config_can_say_is_no_decision_and_the_reason_is_kept():
    levers = levers_of("gpt2")
    assert levers.space.names == ("blocks", "ffn")
    assert "GPT2LMHeadModel cannot be loaded with these sizes" in levers.space.frozen["heads"]


def test_one_decision_alone_is_what_the_method_of_its_name_makes(llama):
    """The same units as `llm prune --method ffn|heads` at that ratio; blocks as the order says."""
    model = language_model()
    same = [
        (llama.cut({"ffn": 48}), FeedForward().prune(model, 0.5, Calibration(WINDOWS)).model.network),
        (llama.cut({"blocks": 1}), without_blocks(model.network, llama.order[:1])),
    ]
    heads = Heads().prune(model, 0.5, Calibration(WINDOWS)).model.network
    chosen = {"heads": heads.config.num_key_value_heads}
    chosen["queries"] = heads.config.num_attention_heads // chosen["heads"]
    for one, other in [*same, (llama.cut(chosen), heads)]:
        state = other.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def test_together_they_are_what_the_dense_network_computes_without_the_units(llama):
    """What is made has the sizes that its config says, and the dense network is untouched."""
    before = {name: tensor.clone() for name, tensor in llama.network.state_dict().items()}
    for blocks, ffn, heads in [(1, 48, 2), (2, 48, 1)]:
        config = llama.cut({"blocks": blocks, "ffn": ffn, "heads": heads, "queries": 1}).config
        assert (config.num_hidden_layers, config.intermediate_size) == (blocks, ffn)
        assert (config.num_key_value_heads, config.num_attention_heads) == (heads, heads)
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.network.state_dict().items())


def test_a_file_is_never_larger_than_counted(llama, tmp_path):
    network = llama.cut({"ffn": 48, "blocks": 1})
    names = {id(p): (name, p.detach()) for name, p in network.named_parameters()}
    save_file(dict(names.values()), tmp_path / "small.safetensors", {"format": "pt"})
    written = (tmp_path / "small.safetensors").stat().st_size
    numbers = 4 * sum(p.numel() for p in network.parameters())
    assert numbers < written <= numbers + file_overhead(network)
    pricing = Counted(LanguageBudget.of({"bytes": "70%"}), llama, {"bytes": 300_000})
    assert pricing.limit == 0.7 * 300_000 and written <= pricing.measure(network).cost
    # a file of the dense model's may hold more than its parameters: the share is of those
    other = Counted(LanguageBudget.of({"bytes": "70%"}), llama, {"bytes": 10**9})
    assert other.limit == 0.7 * other.measure(llama.network).cost < 0.7 * 350_000


def test_heads_that_differ_between_blocks_are_no_decision_and_the_rest_is_searched(monkeypatch):
    from autoprune.errors import UnsupportedModelError
    from autoprune.llm.search import decisions

    def differing(network, groups):
        raise UnsupportedModelError("the blocks differ in the shape of their heads")

    monkeypatch.setattr(decisions, "head_shape", differing)
    found = read_levers(language_model().network, Calibration(WINDOWS), lambda key, compute: compute())
    assert set(found.space.names) == {"blocks", "ffn", "hidden"}
    assert (
        found.space.frozen["heads"] == found.space.frozen["queries"] == "the blocks differ in the shape of their heads"
    )
    small = found.cut({"ffn": 48, "blocks": 1})
    assert small.config.intermediate_size == 48 and small.config.num_hidden_layers == 1
