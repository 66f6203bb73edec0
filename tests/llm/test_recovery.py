"""A recovery lowers the loss, keeps every zero, goes on where it stopped, and stops when nothing gets better."""

import copy

import pytest
import torch

from autoprune.errors import InputError
from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.blocks.storage import WholeNetwork
from autoprune.llm.recovery.base import RecoveryPlan
from autoprune.llm.recovery.objective import divergence, text_loss
from autoprune.llm.recovery.training import recover
from autoprune.llm.sparsity.walk import OneShotPlan, prune_blocks
from autoprune.llm.sparsity.wanda import Wanda
from autoprune.llm.texts import Text
from autoprune.llm.windows import calibration_windows
from autoprune.masks.n_of_m import NofM
from tests.support.language_models import byte_tokenizer, language_model, prose

TEXTS = Text("prose", (prose(400),)), Text("held-out", (prose(100, seed=5),))
PLAN = RecoveryPlan("full", steps=12, batch=4, length=32, rate=3e-3, every=4)


def sparse():
    model = language_model()
    windows = calibration_windows(TEXTS[0], byte_tokenizer(), 4, 32)
    prune_blocks(WholeNetwork(decoder_stack(model.network), None), windows, OneShotPlan(Wanda(), NofM(2, 4)))
    return model


def zeros(network):
    return {name: p == 0 for name, p in network.named_parameters() if "_proj" in name}


def test_it_lowers_the_held_out_loss_and_keeps_every_zero():
    model = sparse()
    before = zeros(model.network)
    embedding = model.network.get_input_embeddings().weight.clone()
    found, told = recover(model, language_model().network, TEXTS, PLAN)
    assert [step for step, _ in told.losses] == [0, 4, 8, 12]
    assert told.losses[-1][1] < 0.9 * told.losses[0][1]
    after = zeros(found.network)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(found.network.get_input_embeddings().weight, embedding)
    assert told.tokens == 12 * 4 * 32 and told.best == 12 and not told.stopped


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_stopped_training_ends_as_one_that_never_stopped(tmp_path, kind):
    if kind == "lora":
        pytest.importorskip("peft")
    plan = RecoveryPlan(kind, steps=8, batch=2, length=32, rate=3e-3, every=4)
    make = sparse if kind == "full" else language_model
    whole, told = recover(make(), None, TEXTS, plan)

    class Stopping:
        def update(self, done, **figures):
            if done == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recover(make(), None, TEXTS, plan, tmp_path / "training.pt", Stopping())
    again, resumed = recover(make(), None, TEXTS, plan, tmp_path / "training.pt")
    assert resumed == told
    state = again.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.network.state_dict().items())


def test_lora_is_merged_and_refused_where_it_would_fill_zeros():
    pytest.importorskip("peft")
    model = language_model()
    names = set(model.network.state_dict())
    with torch.no_grad():
        model.network.model.layers[0].mlp.up_proj.weight[0, :9] = 0  # by chance, as in weights that were of four bits
    found, told = recover(model, None, TEXTS, RecoveryPlan("lora", steps=12, batch=4, length=32, rate=1e-2, every=4))
    assert set(found.network.state_dict()) == names and told.losses[-1][1] < told.losses[0][1]
    with pytest.raises(InputError, match="would fill their zeros; give --recover full"):
        recover(sparse(), None, TEXTS, RecoveryPlan("lora", steps=1, batch=1, length=32))


def test_it_stops_and_keeps_the_best_when_nothing_gets_better():
    model = sparse()
    dense = copy.deepcopy(model.network.state_dict())
    plan = RecoveryPlan("full", steps=40, batch=1, length=32, rate=0.5, every=1, patience=2)
    found, told = recover(model, None, TEXTS, plan)
    assert told.stopped and told.steps == told.best + 2 < 40
    if told.best == 0:
        assert all(torch.equal(tensor, dense[name]) for name, tensor in found.network.state_dict().items())


def test_gradient_checkpointing_changes_nothing():
    _, told = recover(sparse(), None, TEXTS, PLAN)
    plan = RecoveryPlan("full", steps=12, batch=4, length=32, rate=3e-3, every=4, checkpointing=True)
    calls = []
    model = sparse()
    model.network.model.layers[1].self_attn.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    light, other = recover(model, None, TEXTS, plan)
    assert calls.count(True) == 2 * 12  # forward, and again for the backward pass
    for (_, one), (_, two) in zip(told.losses, other.losses, strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    assert all("forward" not in vars(block) for block in light.network.model.layers)


def test_the_objective_by_hand():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    dense = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(10).reshape(2, 5) % 7
    own, goal = logits.double().softmax(-1), dense.double().softmax(-1)
    assert float(divergence(logits, dense)) == pytest.approx(
        float((goal * (goal / own).log()).sum(-1).mean()), rel=1e-5
    )
    picked = own[:, :-1].gather(2, ids[:, 1:, None]).log()
    assert float(text_loss(logits, ids)) == pytest.approx(-float(picked.mean()), rel=1e-5)
    with pytest.raises(InputError, match="predicts 7 tokens, the pruned one 6"):
        divergence(logits[..., :6], dense)


def test_distillation_pulls_towards_the_dense_model():
    dense = language_model().network
    ids = calibration_windows(TEXTS[1], byte_tokenizer(), 4, 32, seed=3)
    plan = RecoveryPlan("full", steps=12, batch=4, length=32, rate=3e-3, every=12, distillation=1.0, patience=9)
    alone = RecoveryPlan("full", steps=12, batch=4, length=32, rate=3e-3, every=12, distillation=0.0, patience=9)
    with torch.no_grad():
        goal = dense(ids).logits
        before = divergence(sparse().network(ids).logits, goal)
        # the weights of the last step, whatever the held-out text says
        pulled = divergence(trained(plan, dense)(ids).logits, goal)
        free = divergence(trained(alone, dense)(ids).logits, goal)
    assert pulled < before and pulled < free


def trained(plan, dense):
    from autoprune.llm.recovery.training import _Training

    with torch.enable_grad():
        training = _Training(sparse(), dense, TEXTS, plan, None)
        training.go_on(None)
    return training.network.eval()


def test_a_loss_that_is_not_finite_is_named():
    model = sparse()
    with torch.no_grad():
        model.network.model.norm.weight.fill_(torch.inf)
    with pytest.raises(InputError, match="loss of step 1 is not finite"):
        recover(model, None, TEXTS, PLAN)
