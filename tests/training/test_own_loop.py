"""A loop of the user's own in place of fine-tuning: its weights are taken, and what must be kept is kept."""

import sys

import pytest
import torch
import yaml
from torch import nn

import autoprune
from autoprune.errors import InputError
from autoprune.training.constraint import Masks
from autoprune.training.own_loop import train_by_own_loop
from tests.support.listener import Heard
from tests.support.tiny_job import images

QUICK = {
    "model": "tests.support.tiny_job:network", "data": "tests.support.tiny_job:loaders",
    "target": "tests.support.tiny_job:Formula", "agent": "random",
    "episodes": 4, "finalists": 2, "train_epochs": 1, "finetune_epochs": 1, "flops": "70%",
}  # fmt: skip
MASK = torch.tensor([[True, False, True], [False, True, True]])


def net():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def steps(model, constraint, epochs, keep):
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(3 * epochs):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
        if keep:
            constraint.project(model, optimizer)
    return model


@pytest.mark.parametrize("keeps", [True, False])
def test_masked_weights_are_zero_afterwards_whether_the_loop_kept_them_or_not(keeps):
    model, before = net(), net()
    loop = lambda *call: steps(*call, keeps)  # noqa: E731
    assert train_by_own_loop(loop, model, Masks({"weight": MASK}), 2, 0) == keeps
    assert not model.weight[~MASK].any() and (model.weight[MASK] != before.weight[MASK]).all()


def test_without_a_constraint_the_loop_is_given_one_all_the_same():
    model = net()
    assert train_by_own_loop(lambda *call: steps(*call, True), model, None, 1, 0)
    assert not torch.equal(model.weight, net().weight)


def test_the_network_keeps_its_modes_and_a_failed_loop_leaves_it_alone():
    model = nn.Sequential(net(), nn.BatchNorm1d(2)).eval().requires_grad_(False)

    def loop(model, constraint, epochs):
        model.train().requires_grad_(True)
        with torch.no_grad():
            model[0].weight.add_(1)
        if epochs == 1:
            raise RuntimeError("the disk of my cluster is full")
        return model

    with pytest.raises(InputError, match="loop raised RuntimeError: the disk of my cluster is full") as caught:
        train_by_own_loop(loop, model, None, 1, 0)
    assert isinstance(caught.value.__cause__, RuntimeError) and torch.equal(model[0].weight, net().weight)
    train_by_own_loop(loop, model, None, 2, 0)
    assert torch.equal(model[0].weight, net().weight + 1)
    assert not model.training and not model[0].weight.requires_grad


def poisoned(model, constraint, epochs):
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    return model


WRONG = {
    "returned None": lambda model, constraint, epochs: None,
    "returned another network than it was given: weight differs": lambda model, constraint, epochs: nn.Linear(4, 2),
    "weight differs; return the model itself": lambda model, constraint, epochs: nn.Sequential(model),
    "bias has values that are NaN": poisoned,
    "raised SystemExit": lambda model, constraint, epochs: sys.exit(0),
    "raised TypeError": lambda model: model,
}


@pytest.mark.parametrize("said", WRONG)
def test_what_a_loop_does_wrong_is_told_with_its_name(said):
    with pytest.raises(InputError, match=f"finetune tests.training.test_own_loop:.*{said}"):
        train_by_own_loop(WRONG[said], net(), None, 1, 0)


calls = []


def hand_written(model, constraint, epochs):
    """What somebody's own script does: Adam on all images at once."""
    calls.append(epochs)
    pixels, labels = images(192, 0).tensors
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-2)
    for _ in range(5 * epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels), labels).backward()
        optimizer.step()
        constraint.project(model, optimizer)
    return model


def test_a_run_is_fine_tuned_by_the_loop_that_is_named_or_handed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    talk, name = Heard(), "tests.training.test_own_loop:hand_written"
    handed = autoprune.compress(settings=QUICK, finetune=hand_written, run="runs/handed", talk=talk)
    monkeypatch.setattr(sys.modules[__name__], "calls", [])
    named = autoprune.compress(settings=QUICK, finetune=name, run="runs/named")
    assert all(torch.equal(a, b) for a, b in zip(handed.model.parameters(), named.model.parameters(), strict=True))
    assert handed.report["finetuned"]["accuracy"] > handed.report["pruned"]["accuracy"]
    stored = [yaml.safe_load((tmp_path / "runs" / run / "experiment.yaml").read_text()) for run in ("handed", "named")]
    assert all(each["settings"]["finetune"] == each["recipe"]["loop"] == name for each in stored)
    assert any(f"fine-tuning by {name}" in line for line in talk.said)
    (tmp_path / "runs/named/report.json").unlink()
    before = len(calls)
    again = autoprune.compress(settings=QUICK, finetune=name, run="runs/named", resume=True)
    assert len(calls) == before and again.policy == named.policy  # what was trained is read back


def test_progressive_trains_its_steps_by_the_loop(tmp_path):
    settings = {name: value for name, value in QUICK.items() if name not in ("agent", "episodes", "finalists")}
    calls.clear()
    result = autoprune.progressive(settings=settings, step="20%", finetune=hand_written)
    assert len(calls) >= 1 + result.report["progressive"]["steps"]


def test_a_loop_that_there_is_not_is_told_before_the_run_begins(tmp_path):
    for name, said in (("mine", "there is no module mine"), ("tests.support.tiny_job:nothing", "has no nothing")):
        with pytest.raises(InputError, match=said):
            autoprune.compress(settings=QUICK, finetune=name, run=tmp_path / "r")
    assert not (tmp_path / "r").exists()
