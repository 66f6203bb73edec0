"""One-shot methods: exact counts, by-hand scores, the update of SparseGPT, in any architecture and out of shards."""

import copy
import json

import pytest
import torch

from autoprune.errors import InputError, UnsupportedModelError
from autoprune.llm.blocks.capture import arrivals, head_logits, run_block
from autoprune.llm.blocks.shards import Shards, save_shards, skeleton
from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.blocks.storage import WholeNetwork
from autoprune.llm.evaluation.by_blocks import perplexity_by_blocks
from autoprune.llm.evaluation.perplexity import Reading, perplexity
from autoprune.llm.models.folder import load_folder, save_folder
from autoprune.llm.sparsity.magnitude import Magnitude
from autoprune.llm.sparsity.owl import ratios
from autoprune.llm.sparsity.sparse_gpt import SparseGpt
from autoprune.llm.sparsity.walk import OneShotPlan, outlier_shares, prune_blocks
from autoprune.llm.sparsity.wanda import Wanda
from autoprune.llm.texts import Text
from autoprune.llm.windows import calibration_windows
from autoprune.masks.n_of_m import NofM
from autoprune.masks.unstructured import Unstructured
from autoprune.reconstruction.grids import grid_of_bits
from tests.support.language_models import CONFIGS, byte_tokenizer, language_model, prose

TEXT = Text("prose", (prose(300),))
WINDOWS = calibration_windows(TEXT, byte_tokenizer(), 6, 32)
HALF = Unstructured(0.5)


def pruned(model, plan, folder=None, windows=WINDOWS):
    stack = decoder_stack(model.network)
    return prune_blocks(WholeNetwork(stack, folder), windows, plan)


def inputs_of(network, name, windows=WINDOWS):
    """What a layer reads, (tokens, inputs)."""
    seen = []
    handle = network.get_submodule(name).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        network(windows)
    handle.remove()
    return torch.cat([each.reshape(-1, each.shape[-1]) for each in seen]).double()


@pytest.mark.parametrize("kind", CONFIGS)
def test_blocks_run_one_by_one_give_the_networks_logits(kind):
    network = language_model(kind).network
    stack = decoder_stack(network)
    (arrived,) = arrivals(stack, [WINDOWS])
    hidden = arrived.hidden
    with torch.no_grad():
        for block, call in zip(stack.blocks, arrived.calls, strict=True):
            hidden = run_block(block, hidden, call)
        wanted = network(WINDOWS).logits
    assert torch.allclose(head_logits(stack, WINDOWS, hidden, arrived.in_tuple), wanted, atol=1e-5)
    assert torch.equal(network(WINDOWS).logits, wanted)  # nothing of the recorders is left


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("pattern", [HALF, NofM(2, 4)], ids=lambda each: each.name)
def test_half_of_the_blocks_weights_go_and_nothing_else_changes(kind, pattern):
    model = language_model(kind)
    before = copy.deepcopy(model.network.state_dict())
    rows = pruned(model, OneShotPlan(Wanda(), pattern))
    names = {f"{row.name}.weight" for row in rows}
    for name, tensor in model.network.state_dict().items():
        if name in names:
            kept = tensor != 0
            assert int(kept.sum()) == tensor.numel() // 2 and torch.equal(tensor[kept], before[name][kept])
        else:
            assert torch.equal(tensor, before[name]), name
    assert {row.zeros for row in rows} == {row.weights // 2 for row in rows}
    assert not any("embed" in name or "head" in name for name in names)


def test_wanda_by_hand():
    """The second block reads what the first one gives when it is pruned already."""
    model = language_model()
    pruned(model, OneShotPlan(Wanda(), HALF))
    dense = language_model().network
    half = copy.deepcopy(dense)
    half.model.layers[0] = model.network.model.layers[0]
    for name in ("model.layers.0.mlp.down_proj", "model.layers.1.self_attn.q_proj"):
        source = dense if ".0." in name else half
        score = source.get_submodule(name).weight.double().abs() * inputs_of(source, name).square().sum(0).sqrt()
        lost = score.masked_fill(model.network.get_submodule(name).weight == 0, 0).sum()
        wanted = score.sort(dim=1).values[:, score.shape[1] // 2 :].sum()
        assert float(lost.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)


def test_magnitude_keeps_the_largest_of_each_matrix():
    model, dense = language_model(), language_model().network
    pruned(model, OneShotPlan(Magnitude(), Unstructured(0.3)))
    for name in ("model.layers.0.mlp.down_proj", "model.layers.1.self_attn.q_proj"):
        weight, old = model.network.get_submodule(name).weight, dense.get_submodule(name).weight
        assert int((weight == 0).sum()) == round(0.3 * weight.numel())
        assert old[weight != 0].abs().min() >= old[weight == 0].abs().max()


@pytest.mark.parametrize("pattern", [HALF, NofM(2, 4)], ids=lambda each: each.name)
def test_sparsegpt_keeps_its_update(pattern):
    """Its weights make less error on what the layer reads than its own mask alone, and than Wanda."""
    model, wanda, dense = language_model(), language_model(), language_model().network
    rows = pruned(model, OneShotPlan(SparseGpt(), pattern))
    pruned(wanda, OneShotPlan(Wanda(), pattern))
    name = "model.layers.0.self_attn.q_proj"
    read, old = inputs_of(dense, name), dense.get_submodule(name).weight.double()
    found = model.network.get_submodule(name).weight.double()
    errors = [
        float(((old - other) @ read.T).square().sum().detach())
        for other in (found, old * (found != 0), wanda.network.get_submodule(name).weight.double())
    ]
    assert errors[0] < 0.7 * errors[1] and errors[0] < 0.7 * errors[2]
    row = next(row for row in rows if row.name == name)
    assert row.error == pytest.approx(errors[0] / float((old @ read.T).square().sum().detach()), rel=1e-3)
    assert row.zeros == row.weights // 2


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (4, 16)])
def test_sparsegpt_rounds_in_the_same_pass(bits, most):
    """Blocks of 32 have the numbers of their type; at 4 bits outputs move less than where rounding comes afterwards."""
    model, after, dense = language_model(), language_model(), language_model().network
    rows = pruned(model, OneShotPlan(SparseGpt(bits=bits), NofM(2, 4)))
    pruned(after, OneShotPlan(SparseGpt(), NofM(2, 4)))
    name, grid = "model.layers.0.self_attn.q_proj", grid_of_bits(bits)
    found = model.network.get_submodule(name).weight.detach()
    assert all(len(block.unique()) <= most for block in found.split(32, dim=1)[0])
    late = after.network.get_submodule(name).weight.detach()
    blocks = [(part, grid.block(part)) for part in late.split(32, dim=1)]
    late = torch.stack([block.rounded(part[:, n], n) for part, block in blocks for n in range(part.shape[1])], 1)
    read, old = inputs_of(dense, name), dense.get_submodule(name).weight.double()
    together, apart = (float(((old - w.double()) @ read.T).square().sum().detach()) for w in (found, late))
    assert together < (apart if bits == 4 else 1.05 * apart)  # what 8 bits take is a hundredth of what zeros do
    assert next(row for row in rows if row.name == name).zeros >= found.numel() // 2 - 1
    reading = Reading(32, 16)
    assert perplexity(model, TEXT, reading).perplexity < 2 * perplexity(after, TEXT, reading).perplexity


def test_moments_that_cannot_be_factorised_are_pruned_by_wanda_and_said(monkeypatch):
    from autoprune.llm.sparsity import sparse_gpt

    monkeypatch.setattr(sparse_gpt, "sparsegpt", lambda *args: None)
    model, wanda = language_model(), language_model()
    rows = pruned(model, OneShotPlan(SparseGpt(), HALF))
    pruned(wanda, OneShotPlan(Wanda(), HALF))
    assert {row.note for row in rows} == {"second moments cannot be factorised: by Wanda"}
    assert torch.equal(model.network(WINDOWS).logits, wanda.network(WINDOWS).logits)


def test_repeated_samples_are_no_failure():
    """A calibration of one token again and again has moments of rank 1."""
    model = language_model()
    rows = pruned(model, OneShotPlan(SparseGpt(), HALF), windows=torch.full((2, 32), 7))
    assert all(row.zeros == row.weights // 2 for row in rows)
    assert bool(torch.isfinite(model.network(WINDOWS).logits).all())


def test_true_sequential_reads_behind_pruned_layers():
    one, other = language_model(), language_model()
    pruned(one, OneShotPlan(Wanda(), HALF))
    pruned(other, OneShotPlan(Wanda(), HALF, sequential=True))
    first, second = ({n: m.weight for n, m in x.network.named_modules() if "_proj" in n} for x in (one, other))
    same = [n for n in first if torch.equal(first[n], second[n])]
    assert {n.split(".")[-1] for n in same if ".0." in n} == {"q_proj", "k_proj", "v_proj"}
    half = language_model().network  # queries, keys and values pruned, all behind them dense
    for name in same:
        half.get_submodule(name).weight.data.copy_(first[name])
    name = "model.layers.0.self_attn.o_proj"
    dense = language_model().network.get_submodule(name).weight
    score = dense.double().abs() * inputs_of(half, name).square().sum(0).sqrt()
    kept = score.masked_fill(second[name] == 0, 0).sum().detach()
    assert float(kept) == pytest.approx(float(score.sort(dim=1).values[:, 32:].sum().detach()), rel=1e-6)


def test_owl_gives_more_weights_to_blocks_with_outliers():
    model = language_model()
    with torch.no_grad():
        model.network.model.layers[1].mlp.up_proj.weight[:, 3] *= 30
    stack = decoder_stack(model.network)
    shares, weights = outlier_shares(WholeNetwork(stack, None), WINDOWS)
    found = ratios(shares, weights, 0.5)
    assert shares[1] > shares[0] and found[1] < 0.5 < found[0]
    rows = pruned(model, OneShotPlan(Wanda(), HALF, ratios=tuple(found)))
    whole = sum(row.zeros for row in rows) / sum(row.weights for row in rows)
    assert whole == pytest.approx(0.5, abs=0.01)
    assert ratios([0.1, 0.1], [1, 1], 0.5) == [0.5, 0.5]
    with pytest.raises(InputError, match="OWL shares out zeros"):
        OneShotPlan(Wanda(), NofM(2, 4), ratios=(0.5, 0.5)).of_block(0)


@pytest.mark.parametrize("method", [Wanda(), SparseGpt(), Magnitude()], ids=lambda each: each.name)
def test_a_stopped_run_goes_on_behind_the_block_that_is_done(tmp_path, method):
    whole, stopped, again = language_model(), language_model(), language_model()
    rows = pruned(whole, OneShotPlan(method, HALF))

    def stop(done, total, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_blocks(
            WholeNetwork(decoder_stack(stopped.network), tmp_path), WINDOWS, OneShotPlan(method, HALF), progress=stop
        )
    assert [file.name for file in tmp_path.iterdir()] == ["block-0000.safetensors"]
    assert pruned(again, OneShotPlan(method, HALF), tmp_path) == rows
    assert torch.equal(again.network(WINDOWS).logits, whole.network(WINDOWS).logits)


@pytest.mark.parametrize("kind", ["llama", "llama-untied", "gpt2"])
def test_out_of_shards_comes_the_same_network_with_one_block_in_memory(tmp_path, kind):
    model = language_model(kind)
    save_folder(model, tmp_path / "dense")
    plan = OneShotPlan(SparseGpt(), HALF)
    light = skeleton(tmp_path / "dense", kind)
    stack = decoder_stack(light.network)
    storage = Shards(stack, tmp_path / "dense", tmp_path / "blocks")

    def one_at_most(done, total, what):
        resident = [any(p.device.type != "meta" for p in block.parameters()) for block in stack.blocks]
        assert sum(resident) <= 1

    reading = Reading(32, 16)
    before = perplexity_by_blocks(light, Shards(stack, tmp_path / "dense", None), TEXT, reading, one_at_most)
    assert before.perplexity == pytest.approx(perplexity(model, TEXT, reading).perplexity, rel=1e-5)
    rows = prune_blocks(storage, WINDOWS, plan, one_at_most)
    save_shards(light, storage, tmp_path / "pruned")
    assert pruned(model, plan) == rows
    back = load_folder(tmp_path / "pruned", kind)
    assert torch.allclose(back.network(WINDOWS).logits, model.network(WINDOWS).logits, atol=1e-5)
    index = json.loads((tmp_path / "pruned" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 3


def test_networks_without_blocks_are_refused():
    with pytest.raises(UnsupportedModelError, match="has no decoder blocks"):
        decoder_stack(torch.nn.Sequential(torch.nn.Linear(3, 3)))
    model = language_model()
    model.network.model.layers.append(torch.nn.Linear(64, 64))  # which the network never calls
    with pytest.raises(UnsupportedModelError, match=r"does not call model\.layers one after the other"):
        arrivals(decoder_stack(model.network), [WINDOWS])


def test_what_is_not_finite_is_named():
    model = language_model()
    with torch.no_grad():
        model.network.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"model\.layers\.1\.mlp\.(up|down)_proj.* not finite"):
        pruned(model, OneShotPlan(Wanda(), HALF))
