"""Network Slimming: the pull on BatchNorm's scales, by hand; and that a network with weights is only ranked by it."""

import copy
import json

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import InputError
from autoprune.models import save_weights
from autoprune.pipeline.finish import trainings
from autoprune.run.experiment import Experiment
from autoprune.training import Recipe, Trainer, TrainSettings
from tests.support.tiny_job import images, network
from tests.training.test_recipe import QUICK


def test_a_step_pulls_every_scale_towards_zero_by_the_same_amount():
    # Liu et al. 2017, equation 1: the subgradient of lambda |gamma| is lambda sign(gamma), and 0 at 0.
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([0.5, -2.0, 0.0]))
    linear = copy.deepcopy(model[1].state_dict())
    settings = TrainSettings(epochs=1, lr=0.1, momentum=0, weight_decay=0, warmup_epochs=0, slim=0.3, bf16=False)
    batch = (torch.randn(4, 3), torch.zeros(4))
    Trainer(model, [batch], settings, loss=lambda output, batch: 0 * output.sum()).run()
    torch.testing.assert_close(model[0].weight.detach(), torch.tensor([0.47, -1.97, 0.0]))
    assert all(torch.equal(value, linear[name]) for name, value in model[1].state_dict().items())


def test_the_pull_is_of_the_dense_training_alone():
    recipe = Recipe.chosen(Experiment(slim=0.01), attention=False)
    assert [getattr(recipe, kind)(4, 0).slim for kind in ("dense", "slimming", "finetune", "step")] == [
        0.01,
        0.01,
        0,
        0,
    ]
    assert Recipe.chosen(Experiment(), attention=False).dense(4, 0).slim == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainings, "_SAVE_EVERY", -1.0)
    torch.manual_seed(0)
    model = network()
    Trainer(model, [tuple(images(256, 5).tensors)] * 8, TrainSettings(epochs=3, warmup_epochs=0)).run()
    save_weights(model.state_dict(), tmp_path / "w.safetensors")
    return tmp_path


JOB = QUICK | {"weights": "w.safetensors", "criterion": "bn_scale", "agent": "uniform", "finetune_epochs": 2}


def test_a_network_that_came_with_weights_stays_and_is_ranked_by_a_copy(folder):
    plain = autoprune.compress(settings=JOB, run="runs/plain")
    strong = autoprune.compress(settings=JOB, slim=0.3, run="runs/slim")  # strong enough to matter in two epochs
    assert (folder / "runs/slim/dense.safetensors").read_bytes() == (
        folder / "runs/plain/dense.safetensors"
    ).read_bytes()
    assert strong.policy.choices == plain.policy.choices and strong.policy.kept != plain.policy.kept
    reports = [json.loads((folder / f"runs/{name}/report.json").read_text()) for name in ("plain", "slim")]
    assert reports[0]["dense"]["accuracy"] == reports[1]["dense"]["accuracy"]
    assert reports[1]["recipe"]["slim"] == 0.3


def test_an_interrupted_one_ranks_as_a_whole_one(folder):
    whole = autoprune.compress(settings=JOB, slim=0.3, run="runs/whole")

    def stop(progress, event):
        if progress.stage == "train" and event.kind == "advanced" and progress.done == 1:
            progress.stop()

    with pytest.raises(autoprune.errors.Stopped):
        autoprune.compress(settings=JOB, slim=0.3, run="runs/cut", callbacks=[stop])
    assert (folder / "runs/cut/checkpoint/slimmed.pt").exists()
    assert autoprune.compress(settings=JOB, slim=0.3, run="runs/cut", resume=True).policy.kept == whole.policy.kept


def test_a_network_without_scales_is_refused(folder):
    with pytest.raises(InputError, match="--slim pulls on the scales of BatchNorms, and this network has none"):
        autoprune.compress(settings=QUICK | {"model": "tests.support.tiny_job:other"}, slim=1e-4, run="runs/x")
