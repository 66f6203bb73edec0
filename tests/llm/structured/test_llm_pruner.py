"""LLM-Pruner's importance by its formula, and the model that it leaves."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from autoprune.errors import InputError
from autoprune.llm.methods.options import MethodOptions
from autoprune.llm.methods.registry import METHODS
from autoprune.llm.models.folder import load_folder, save_folder
from autoprune.llm.models.library import quiet
from autoprune.llm.structured import Calibration
from autoprune.llm.structured.couplings import couplings, groups_of_kind
from autoprune.llm.structured.ffn import best
from autoprune.llm.structured.llm_pruner import LlmPruner
from autoprune.llm.structured.protected import Protected
from autoprune.llm.structured.taylor import slopes, taylor_importance
from autoprune.llm.texts import Text
from autoprune.llm.windows import calibration_windows
from tests.support.language_models import byte_tokenizer, language_model, prose

WINDOWS = calibration_windows(Text("prose", (prose(300),)), byte_tokenizer(), 3, 32)
CALIBRATION = Calibration(WINDOWS)


def terms(network, order):
    """Name -> |w g| or |w g - w F w / 2| of every weight: gradients of the library's own loss, text by text."""
    each = []
    for window in WINDOWS:
        network.zero_grad()
        network(input_ids=window[None], labels=window[None]).loss.backward()
        each.append({name: p.grad.double().clone() for name, p in network.named_parameters() if p.grad is not None})
    found = {}
    for name, weight in network.named_parameters():
        slope = torch.stack([one[name] for one in each])
        change = weight.double() * slope.mean(0)
        if order == "mixed":
            change = change - weight.double() ** 2 * slope.square().mean(0) / 2
        found[name] = change.detach().abs()
    return found


@pytest.mark.parametrize("order", ["first", "mixed"])
def test_importance_by_its_formula(order):
    network = language_model().network
    analysis = couplings(network)
    wanted = terms(copy.deepcopy(network), order)
    neurons = groups_of_kind(analysis, "ffn", "neurons")
    heads = groups_of_kind(analysis, "heads", "heads")
    found = slopes(network, [*neurons, *heads], CALIBRATION)
    assert all(parameter.grad is None for parameter in network.parameters())
    for block, group in enumerate(neurons):
        mlp = f"model.layers.{block}.mlp."
        by_hand = (
            wanted[f"{mlp}gate_proj.weight"].sum(1)
            + wanted[f"{mlp}up_proj.weight"].sum(1)
            + wanted[f"{mlp}down_proj.weight"].sum(0)
        )
        assert torch.allclose(taylor_importance(network, group, found, order), by_hand, rtol=1e-3)
    for block, group in enumerate(heads):
        own = f"model.layers.{block}.self_attn."
        by_hand = (
            wanted[f"{own}q_proj.weight"].reshape(2, -1).sum(1)
            + wanted[f"{own}k_proj.weight"].reshape(2, -1).sum(1)
            + wanted[f"{own}v_proj.weight"].reshape(2, -1).sum(1)
            + wanted[f"{own}o_proj.weight"].T.reshape(2, -1).sum(1)
        )
        assert torch.allclose(taylor_importance(network, group, found, order), by_hand, rtol=1e-3)


def test_the_same_share_of_neurons_and_heads_goes_and_stock_classes_load_it(tmp_path):
    model = language_model("llama-untied")
    outcome = LlmPruner().prune(model, 0.5, CALIBRATION)
    assert outcome.removed == {"neurons": [96, 48], "order": "mixed", "key_value_heads": [2, 1]}
    save_folder(outcome.model, tmp_path / "m")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert torch.equal(back(WINDOWS).logits, outcome.model.network(WINDOWS).logits)
    assert (back.config.intermediate_size, back.config.num_key_value_heads) == (48, 1)


def test_protected_blocks_stay_whole_and_the_folder_brings_the_others_back(tmp_path):
    model = language_model("llama", num_hidden_layers=4)
    outcome = LlmPruner("first", Protected(2, 1)).prune(model, 0.5, CALIBRATION)
    network = outcome.model.network
    layers, dense = network.model.layers, model.network.model.layers
    assert [layer.mlp.gate_proj.out_features for layer in layers] == [96, 96, 48, 96]
    assert [layer.self_attn.k_proj.out_features for layer in layers] == [32, 32, 16, 32]
    assert outcome.removed["protected_blocks"] == [0, 1, 3] and outcome.ratio == 0.5 / 4
    for place in (0, 1, 3):
        state = dense[place].state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in layers[place].state_dict().items())
    # The pruned block is that of the uniform cut, whose gradients are the same: nothing has been cut before them.
    uniform = LlmPruner("first").prune(model, 0.5, CALIBRATION).model.network.model.layers[2]
    assert torch.equal(layers[2].mlp.down_proj.weight, uniform.mlp.down_proj.weight)
    save_folder(outcome.model, tmp_path / "m")
    back = load_folder(tmp_path / "m", "back").network
    assert torch.equal(back(WINDOWS).logits, network(WINDOWS).logits)
    assert back.lm_head.weight is back.model.embed_tokens.weight and back.dtype == torch.float32
    said = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 257}
    plain, cached = (back.generate(WINDOWS[:1, :5], use_cache=use, **said) for use in (False, True))
    assert plain.shape[1] > 5 and torch.equal(plain, cached)
    assert load_folder(tmp_path / "m", "half", torch.bfloat16).network.dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="mismatch"), quiet():  # the stock class cannot be what the config says
        AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    (tmp_path / "m" / "layers.json").write_text("{}")
    with pytest.raises(InputError, match="no list of sizes of layers"):
        load_folder(tmp_path / "m", "back")


def test_protection_that_leaves_nothing_or_cannot_be_read_is_refused():
    with pytest.raises(InputError, match="--protect 1,1 leaves none of 2 blocks to prune"):
        LlmPruner("first", Protected(1, 1)).prune(language_model(), 0.5, CALIBRATION)
    with pytest.raises(InputError, match="write such as 4,2"):
        METHODS.get("llm-pruner")().check(MethodOptions("50%", protect="4"))
    for other in ("ffn", "wanda"):
        with pytest.raises(InputError, match=f"--protect is of llm-pruner; {other} has none"):
            METHODS.get(other)().check(MethodOptions("50%", protect="4,2"))


def test_units_that_matter_most_stay():
    model = language_model()
    group = groups_of_kind(couplings(model.network), "ffn", "neurons")[0]
    scores = taylor_importance(model.network, group, slopes(model.network, [group], CALIBRATION))
    small = LlmPruner().prune(model, 0.25, CALIBRATION).model.network
    old = model.network.model.layers[0].mlp.down_proj.weight
    assert torch.equal(small.model.layers[0].mlp.down_proj.weight, old[:, best(scores, 72)])
    assert small.config.num_key_value_heads == 2  # a quarter of two groups is none


def test_a_share_that_takes_nothing_or_everything_is_refused():
    with pytest.raises(InputError, match="takes none away"):
        LlmPruner().prune(language_model(), 0.01, CALIBRATION)
    with pytest.raises(InputError, match="leaves none"):
        LlmPruner().prune(language_model(), 0.99, CALIBRATION)


def test_gradients_that_are_not_finite_are_named():
    model = language_model()
    group = groups_of_kind(couplings(model.network), "ffn", "neurons")
    with torch.no_grad():
        model.network.model.layers[1].mlp.down_proj.weight[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"the gradient by model\.layers\.\d\.mlp.* is not finite"):
        slopes(model.network, group, CALIBRATION)
