"""Fewer blocks, neurons, heads, channels: the stock class loads what is left, and it is what it should be."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from autoprune.errors import InputError, UnsupportedModelError
from autoprune.llm.blocks.capture import passing_over
from autoprune.llm.blocks.streams import Streams
from autoprune.llm.models.folder import load_folder, save_folder
from autoprune.llm.models.library import quiet
from autoprune.llm.structured import depth
from autoprune.llm.structured.base import Calibration
from autoprune.llm.structured.depth import Depth, choose_blocks
from autoprune.llm.structured.ffn import FeedForward
from autoprune.llm.structured.heads import Heads
from autoprune.llm.structured.hidden import Hidden, step_of_stream
from autoprune.llm.structured.judge import mean_loss
from autoprune.llm.structured.stack import counted_stack, influences, without_blocks
from autoprune.llm.structured.stock import stock_from
from tests.support.language_models import language_model

WINDOWS = torch.randint(0, 250, (4, 24), generator=torch.Generator().manual_seed(0))
METHODS = [Depth, FeedForward, Heads, Hidden]


@pytest.fixture(scope="module")
def llama():
    """Grouped queries, tied embedding, three blocks; its couplings are read once."""
    return language_model("llama", num_hidden_layers=3)


def logits(network, ids=WINDOWS):
    with torch.no_grad():
        return network(input_ids=ids, use_cache=False).logits


@pytest.mark.parametrize("how", METHODS)
def test_the_stock_class_loads_it_and_generates_the_same_with_a_cache(llama, how, tmp_path):
    before = logits(llama.network)
    small = how().prune(llama, 0.34, Calibration(WINDOWS)).model.network
    assert torch.equal(logits(llama.network), before)  # the dense model is as it was
    with quiet():
        small.save_pretrained(tmp_path)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(loaded), logits(small))
    said = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 257}
    plain, cached = (loaded.generate(WINDOWS[:1, :5], use_cache=use, **said) for use in (False, True))
    assert plain.shape[1] > 5 and torch.equal(plain, cached)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in llama.network.parameters())


def test_a_half_precision_network_computes_what_its_folder_computes(llama, tmp_path):
    """Rotary frequencies stay in single precision, as `from_pretrained` makes them."""
    save_folder(llama, tmp_path / "dense")
    half = load_folder(tmp_path / "dense", "half", torch.bfloat16)
    small = FeedForward().prune(half, 0.34, Calibration(WINDOWS)).model
    save_folder(small, tmp_path / "small")
    assert small.network.dtype == torch.bfloat16 and small.network.model.rotary_emb.inv_freq.dtype == torch.float32
    with quiet():
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "small").eval()
    assert torch.equal(logits(loaded), logits(small.network))


def test_configs_say_what_is_left(llama):
    figures = {}
    for how in METHODS:
        made = how().prune(llama, 0.5 if how is Heads else 0.34, Calibration(WINDOWS))
        config = made.model.network.config
        figures[how.name] = (
            config.num_hidden_layers, config.intermediate_size, config.num_attention_heads, config.hidden_size,
            config.head_dim,
        )  # fmt: skip
    assert figures == {
        "depth": (2, 96, 4, 64, 16),
        "ffn": (3, 64, 4, 64, 16),
        "heads": (3, 96, 2, 64, 16),
        "hidden": (3, 96, 4, 40, 16),
    }


def test_neurons_that_are_kept_are_those_that_matter_most_to_the_layer_that_reads_them(llama):
    small = FeedForward().prune(llama, 0.5, Calibration(WINDOWS)).model.network
    mlp, seen = llama.network.model.layers[1].mlp, []
    handle = mlp.down_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0].flatten(0, 1)))
    logits(llama.network)
    handle.remove()
    lost = torch.cat(seen).square().mean(0) * mlp.down_proj.weight.square().sum(0)
    kept = lost.topk(48).indices.sort().values
    assert torch.equal(small.model.layers[1].mlp.down_proj.weight, mlp.down_proj.weight[:, kept])
    assert torch.equal(small.model.layers[1].mlp.gate_proj.weight, mlp.gate_proj.weight[kept])


def test_query_heads_leave_every_group_and_their_readers_are_silent(llama):
    made = Heads().prune(llama, 0.5, Calibration(WINDOWS))
    tried = made.removed["tried"]
    assert [(t["key_value_heads"], t["query_heads_each"]) for t in tried] == [(1, 2), (2, 1)]
    assert made.removed["query_heads"] == [4, 2]
    # Whichever was chosen is better on the calibration text than the other, which its own class makes, too.
    from autoprune.llm.structured.couplings import couplings, groups_of_kind
    from autoprune.llm.structured.heads import choices, with_heads
    from autoprune.llm.structured.importance import importance, measure_inputs
    from autoprune.llm.structured.query_heads import head_shape

    analysis = couplings(llama.network)
    groups = groups_of_kind(analysis, "heads", "heads")
    shape = head_shape(llama.network, groups)
    squares = measure_inputs(llama.network, groups, Calibration(WINDOWS))
    scores = {g.name: importance(llama.network, g, squares, shape.queries) for g in groups}
    both = [with_heads(llama.network, analysis, groups, shape, scores, choice) for choice in choices(shape, 2)]
    least = min(mean_loss(network, WINDOWS) for network in both)
    assert mean_loss(made.model.network, WINDOWS) == pytest.approx(least, rel=1e-9)
    assert [network.config.num_key_value_heads for network in both] == [1, 2]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "opt"])
def test_the_block_goes_that_the_text_misses_least(kind):
    model = language_model(kind, **({"n_layer": 3} if kind == "gpt2" else {"num_hidden_layers": 3}))
    made = Depth().prune(model, 0.34, Calibration(WINDOWS))
    losses = [mean_loss(without_blocks(model.network, [place]), WINDOWS) for place in range(3)]
    assert made.removed["blocks"] == [losses.index(min(losses))]
    assert made.removed["steps"][0]["loss"] == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", pytest.param("gpt2", marks=pytest.mark.slow), "gemma"])
def test_blocks_that_are_tried_from_the_kept_stream_are_chosen_as_by_whole_runs(kind, monkeypatch):
    model = language_model(kind, **({"n_layer": 5} if kind == "gpt2" else {"num_hidden_layers": 5}))
    stack = counted_stack(model.network)
    kept = choose_blocks(model.network, stack, 3, Calibration(WINDOWS))
    runs = []
    monkeypatch.setattr(depth, "mean_loss", lambda network, windows: runs.append(1) or mean_loss(network, windows))
    monkeypatch.setattr(depth, "Streams", refusing)
    plain = choose_blocks(model.network, stack, 3, Calibration(WINDOWS))
    assert len(runs) == 5 + 4 + 3  # every block that is left, each by a run of the whole network
    assert [step["block"] for step in kept] == [step["block"] for step in plain]
    for one, other in zip(kept, plain, strict=True):
        assert one["influence"] == pytest.approx(other["influence"], rel=1e-4)
        assert one["tried"].keys() == other["tried"].keys()
        assert one["tried"] == pytest.approx(other["tried"], rel=1e-5)


def refusing(stack, windows):
    raise UnsupportedModelError("its blocks are not called one after the other")


def test_where_the_kept_stream_does_not_give_the_networks_predictions_whole_runs_decide(monkeypatch):
    class Other(Streams):
        def logits(self, without=None):
            return ((ids, 1.5 * found) for ids, found in super().logits(without))

    network = language_model("llama", num_hidden_layers=3).network
    stack = counted_stack(network)
    monkeypatch.setattr(depth, "Streams", Other)
    (step,) = choose_blocks(network, stack, 1, Calibration(WINDOWS))
    for place, loss in step["tried"].items():
        with passing_over(stack, [place]):
            assert loss == pytest.approx(mean_loss(network, WINDOWS), rel=1e-5)


def test_a_block_that_does_nothing_has_no_influence():
    network = language_model("llama", num_hidden_layers=3).network
    with torch.no_grad():
        network.model.layers[1].self_attn.o_proj.weight.zero_()
        network.model.layers[1].mlp.down_proj.weight.zero_()
    found = influences(network, counted_stack(network), WINDOWS)
    assert found[1] == pytest.approx(0, abs=1e-6) and min(found[0], found[2]) > 0.01
    small = without_blocks(network, [1])
    torch.testing.assert_close(logits(small), logits(network))
    assert [layer.self_attn.layer_idx for layer in small.model.layers] == [0, 1]


@pytest.mark.parametrize("ratio", [0.99, 0.001])
@pytest.mark.parametrize("how", METHODS)
def test_a_ratio_that_leaves_nothing_or_takes_nothing_is_refused(llama, how, ratio):
    with pytest.raises(InputError, match="leaves none" if ratio > 0.5 else "takes none away"):
        how().prune(llama, ratio, Calibration(WINDOWS))


@pytest.mark.slow
def test_what_no_config_of_the_class_can_say_is_refused_with_the_layer():
    with pytest.raises(InputError, match=r"GPT2LMHeadModel cannot be loaded with these sizes: transformer\.h\.0\.attn"):
        Heads().prune(language_model("gpt2"), 0.5, Calibration(WINDOWS))


@pytest.mark.slow
def test_a_class_that_computes_something_else_at_the_new_size_is_refused():
    # Gemma multiplies its embedding by the root of the hidden size.
    with pytest.raises(InputError, match="is off by"):
        Hidden().prune(language_model("gemma"), 0.25, Calibration(WINDOWS))


def test_a_narrower_stream_is_one_that_the_class_stores(tmp_path):
    """Stock Llama stores multiples of its number of heads alone; here those are none of the steps of 8."""
    wide = language_model("llama", hidden_size=72, num_attention_heads=6, num_key_value_heads=2)
    assert step_of_stream(wide.config, 72) == 6
    small = Hidden().prune(wide, 0.3, Calibration(WINDOWS)).model
    assert small.config.hidden_size == 48
    save_folder(small, tmp_path / "small")
    assert torch.equal(logits(load_folder(tmp_path / "small", "small").network), logits(small.network))
    config = copy.deepcopy(wide.config)
    config.hidden_size = 40
    with pytest.raises(
        InputError, match=r"sizes: The hidden size \(40\) is not a multiple of the number of attention heads"
    ):
        stock_from(wide.network, config, wide.network.state_dict())
