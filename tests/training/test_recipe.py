"""How a run trains: what the user says, else what suits the network; every value has its option."""

import json

import pytest
import torch
import yaml
from torch import nn

import autoprune
from autoprune.errors import InputError
from autoprune.graph import analyse
from autoprune.run.experiment import Experiment
from autoprune.training import Recipe, Trainer, TrainSettings
from autoprune.training.optimizers import make_optimizer
from tests.support.listener import Heard

QUICK = {
    "model": "tests.support.tiny_job:network", "data": "tests.support.tiny_job:loaders",
    "target": "tests.support.tiny_job:Formula", "agent": "random",
    "episodes": 3, "finalists": 1, "train_epochs": 1, "finetune_epochs": 1, "flops": "70%",
}  # fmt: skip


class Written(nn.Module):
    """Attention of one head as many write it."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1)
        return self.head((weights @ self.v(x)).mean(1))


def encoder():
    return nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(40, 4))


def gated():
    """A softmax and products of activations by elements, and no attention."""
    return nn.Sequential(nn.Linear(8, 8), nn.GLU(), nn.Flatten(), nn.Linear(20, 4), nn.Softmax(-1))


@pytest.mark.parametrize(("make", "attends"), [(Written, True), (encoder, True), (gated, False)])
def test_attention_is_seen_in_the_network(make, attends):
    assert analyse(make().eval(), torch.randn(1, 5, 8)).has_attention == attends


def test_what_is_left_open_follows_the_network_and_the_optimizer():
    open_, rest = Experiment(), {"epochs": 3, "seed": 0}
    sgd, adamw = (Recipe.chosen(open_, attention=attends) for attends in (False, True))
    rates = [getattr(sgd, kind)(**rest).lr for kind in ("dense", "finetune", "step")]
    assert rates == pytest.approx([0.1, 0.05, 0.02]) and sgd.optimizer == "sgd"
    assert adamw.optimizer == "adamw" and adamw.finetune(**rest).lr < 0.005 and adamw.clip == 1.0
    assert Recipe.chosen(Experiment(optimizer="sgd"), attention=True).finetune(**rest) == sgd.finetune(**rest)


def test_what_is_asked_for_is_taken():
    given = Experiment(optimizer="adamw", lr=0.01, weight_decay=0.0, warmup_epochs=0, clip=3)
    settings = Recipe.chosen(given, attention=False).finetune(4, 7)
    assert settings == TrainSettings(
        epochs=4, optimizer="adamw", lr=0.01, weight_decay=0.0, warmup_epochs=0, clip=3, seed=7
    )


def one_weight(value):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


BATCH = (torch.ones(1, 1), torch.ones(1, 1))


def squared(output, batch):
    return ((output - batch[1]) ** 2).sum() / 2


def test_adamw_steps_are_those_of_the_paper():
    # Loshchilov and Hutter 2019, algorithm 2, by hand for y = w x with loss (w - 1)^2 / 2 at x = 1.
    model, weight, m, v = one_weight(3.0), 3.0, 0.0, 0.0
    settings = TrainSettings(epochs=2, optimizer="adamw", lr=0.1, weight_decay=0.01, warmup_epochs=0, bf16=False)
    trainer = Trainer(model, [BATCH], settings, loss=squared)
    for step, rate in enumerate((0.1, 0.05), start=1):  # a cosine over two steps
        gradient = weight - 1
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight -= rate * 0.01 * weight + rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
        trainer.run(1)
        assert float(model.weight.detach()) == pytest.approx(weight, rel=1e-5)


def test_a_gradient_is_clipped_to_its_norm():
    model = one_weight(3.0)
    settings = TrainSettings(epochs=1, lr=0.1, momentum=0, weight_decay=0, warmup_epochs=0, clip=0.5, bf16=False)
    Trainer(model, [BATCH], settings, loss=squared).run()
    assert float(model.weight.detach()) == pytest.approx(3.0 - 0.1 * 0.5)  # the gradient is 2


def test_biases_and_norms_do_not_decay_under_adamw():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    groups = make_optimizer(model, TrainSettings(optimizer="adamw", weight_decay=0.1)).param_groups
    assert {(group["weight_decay"], len(group["params"])) for group in groups} == {(0.1, 1), (0.0, 3)}


def layerwise(parameters, lr=0.3):
    """An optimiser of the user's own with two rates."""
    half = len(parameters) // 2
    return torch.optim.SGD([{"params": parameters[:half], "lr": lr / 10}, {"params": parameters[half:]}], lr=lr)


def not_an_optimizer(parameters, **rates):
    return parameters


def test_an_optimizer_of_the_user_s_own_keeps_its_rates_relative_to_each_other():
    model = nn.Linear(2, 2)
    batches = [(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))] * 2
    own = "tests.training.test_recipe:layerwise"
    settings = TrainSettings(
        epochs=2, optimizer=own, lr=None, weight_decay=None, warmup_epochs=0, label_smoothing=0, bf16=False
    )
    trainer = Trainer(model, batches, settings)
    trainer.run(1)
    first, second = (group["lr"] for group in trainer.optimizer.param_groups)
    assert second == pytest.approx(10 * first) and 0 < second < 0.3
    again = Trainer(nn.Linear(2, 2), batches, settings)
    again.load_state_dict(trainer.state_dict())
    trainer.run(), again.run()
    assert torch.equal(model.weight, again.model.weight)  # a resumed one knows its peaks


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adam", "no optimizer 'adam'; the nearest name is adamw"),
        ("torch.optim:Adamm", "torch.optim has no Adamm"),
        ("tests.training.test_recipe:not_an_optimizer", "returned list of 2; it must return a torch.optim.Optimizer"),
        ("torch.optim:LBFGS", r"torch\.optim:LBFGS raised TypeError"),
    ],
)
def test_an_optimizer_that_there_is_not_is_refused(name, said):
    with pytest.raises(InputError, match=said):
        make_optimizer(nn.Linear(2, 2), TrainSettings(optimizer=name))


def test_a_run_says_and_keeps_its_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    talk = Heard()
    result = autoprune.compress(settings=QUICK, lr=0.01, run="runs/r", talk=talk)
    stored = yaml.safe_load((tmp_path / "runs/r/experiment.yaml").read_text())
    assert stored["settings"]["lr"] == 0.01 and stored["settings"]["optimizer"] is None
    assert stored["recipe"]["optimizer"] == "sgd" and stored["recipe"]["lr"] == 0.01
    assert json.loads((tmp_path / "runs/r/report.json").read_text())["recipe"] == stored["recipe"]
    assert any("--optimizer sgd --lr 0.01" in line for line in talk.said)
    assert autoprune.compress(settings=QUICK, lr=0.01, run="runs/r", resume=True).policy == result.policy
    other = autoprune.compress(settings=QUICK, optimizer="adamw", run="runs/other")
    weights = [each.model.state_dict()["fc.weight"] for each in (result, other)]
    assert not torch.equal(*weights)


def test_a_training_that_diverges_names_the_option():
    batches = [(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))] * 50
    wild = TrainSettings(epochs=3, lr=1e30, warmup_epochs=0, bf16=False)
    with pytest.raises(InputError, match=r"lower the learning rate \(--lr; its peak was 1e\+30"):
        Trainer(nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 2)), batches, wild).run()


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0", "mps:1:2", "cuda:-1"])
def test_a_device_that_is_none_is_refused(device):
    with pytest.raises(InputError, match=r"device: write cpu, cuda, cuda:N or mps"):
        Experiment.build({"device": device})


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without CUDA says")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_here_is_named(device):
    with pytest.raises(InputError, match=f"--device {device}: this machine has no"):
        autoprune.compress(settings=QUICK, device=device)
