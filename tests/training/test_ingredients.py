"""Ingredients of fine-tuning, each against a hand computation: the average of weights, mixup; and their resumption."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import autoprune
from autoprune.errors import InputError
from autoprune.models.inputs.example import Example
from autoprune.run.experiment import Experiment
from autoprune.training import Recipe, Trainer, TrainSettings
from autoprune.training.constraint import Masks
from autoprune.training.ingredients.mixup import Mixture, Mixup
from autoprune.training.presets import PRESETS
from tests.training.test_recipe import QUICK
from tests.training.test_trainer import batches, net, same


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_training_ends_with_the_average_of_its_weights_and_statistics():
    settings = TrainSettings(epochs=4, ema=0.25, bf16=False)
    plain = Trainer(net(), batches(), TrainSettings(epochs=4, bf16=False))
    seen = [copy.deepcopy(plain.model.state_dict())]
    step = plain.objective.of

    def spied(batch, mixture):  # at every step but the first: what the one before it came to
        seen.append(copy.deepcopy(plain.model.state_dict()))
        return step(batch, mixture)

    plain.objective.of = spied
    plain.run()
    averaged = Trainer(net(), batches(), settings).run().state_dict()
    for name, last in plain.model.state_dict().items():
        if not last.is_floating_point():
            assert torch.equal(averaged[name], last)  # a count of batches is no average
            continue
        if "running" in name:
            continue  # the forward changes them before the step: below
        mean = seen[1][name].double()
        for number, weights in enumerate([*(s[name] for s in seen[2:]), last], start=1):
            decay = min(0.25, (1 + number) / (10 + number))
            mean = decay * mean + (1 - decay) * weights.double()
        assert torch.allclose(averaged[name].double(), mean, atol=1e-5), name
        assert not torch.equal(averaged[name], last)


def test_running_statistics_are_averaged_with_the_weights():
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2))
    data = [(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])), (torch.tensor([[5.0], [9.0]]), torch.tensor([0, 1]))]
    Trainer(model, data, TrainSettings(epochs=1, ema=0.9, bf16=False)).run()
    # Means of the batches 2 and 7 with BatchNorm's momentum 0.1: 0.2, 0.88. Decays 2/11, 3/12.
    first = (1 - 2 / 11) * 0.2
    assert float(model[0].running_mean) == pytest.approx(0.25 * first + 0.75 * 0.88)


def test_masked_weights_stay_zero_in_the_average():
    mask = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(0)) > 0.5
    model = net()
    Trainer(model, batches(), TrainSettings(epochs=2, ema=0.9, bf16=False), constraint=Masks({"0.weight": mask})).run()
    assert not model[0].weight[~mask].any() and model[0].weight[mask].all()


class Whole:
    """A grid of values, which no average keeps to."""

    def project(self, model, optimizer):
        with torch.no_grad():
            model[6].weight.copy_((model[6].weight * 8).round() / 8)


def test_the_average_is_put_on_the_grid_that_steps_keep_to():
    model = net()
    Trainer(model, batches(), TrainSettings(epochs=3, ema=0.9, bf16=False), constraint=Whole()).run()
    assert torch.equal(model[6].weight * 8, (model[6].weight * 8).round())


def test_no_average_without_asking():
    a, b = (Trainer(net(), batches(), TrainSettings(epochs=2, bf16=False, ema=ema)) for ema in (0.0, 0.5))
    a.run(), b.run()
    assert a.average is None and not same(a.model, b.model)


STRONG = TrainSettings(epochs=4, lr=0.05, ema=0.9, mixup=0.4)


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_resumed_is_uninterrupted(tmp_path, stop):
    whole = Trainer(net(), batches(), STRONG, teacher=net(5)).run()
    first = Trainer(net(), batches(), STRONG, teacher=net(5))

    def save(result):
        if result.epoch == stop:
            torch.save(first.state_dict(), tmp_path / "state.pt")

    first.run(on_epoch=save)  # also of an end that a kill came before
    second = Trainer(net(9), batches(), STRONG, teacher=net(5))
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(second.run(), whole) and same(first.model, whole)


def test_a_state_without_the_average_is_refused():
    state = Trainer(net(), batches(), TrainSettings(epochs=4)).state_dict()
    with pytest.raises(InputError, match="does not fit this model: 'average'"):
        Trainer(net(), batches(), STRONG).load_state_dict(state)


def test_blended_images_and_labels_are_those_of_the_paper():
    # Zhang et al. 2018: x = share x_i + (1 - share) x_j, y = share y_i + (1 - share) y_j, here with soft labels.
    model, mixture = net().eval(), Mixture(0.7, torch.tensor([2, 0, 1]))
    images, labels = torch.randn(3, 1, 6, 6), torch.tensor([0, 2, 1])
    trainer = Trainer(model, [(images, labels)], TrainSettings(bf16=False, label_smoothing=0.0, mixup=1.0))
    blended = 0.7 * images + 0.3 * images[[2, 0, 1]]
    hot = F.one_hot(labels, 3).float()
    expected = F.cross_entropy(model(blended), 0.7 * hot + 0.3 * hot[[2, 0, 1]])
    found = [trainer.objective.of((images, labels), each).item() for each in (mixture, None)]
    assert found == pytest.approx([expected.item(), F.cross_entropy(model(images), labels).item()], rel=1e-5)


def test_shares_follow_beta_and_partners_are_a_permutation():
    mixup, again = Mixup(0.4, 3), Mixup(0.4, 3).draw(5)
    draws = [mixup.draw(5) for _ in range(3000)]
    assert draws[0].share == again.share and torch.equal(draws[0].partner, again.partner)
    assert all(sorted(each.partner.tolist()) == [0, 1, 2, 3, 4] for each in draws[:50])
    shares = torch.tensor([each.share for each in draws])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(a, a)


def test_what_cannot_be_blended_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"an input is torch\.int64"):
        Mixture(0.5, torch.tensor([1, 0])).blended(Example((torch.tensor([[1, 2], [3, 4]]),), {}))
    with pytest.raises(InputError, match="an own loss has labels of its own"):
        Trainer(net(), batches(), TrainSettings(mixup=0.2), loss=lambda output, batch: output.sum())
    with pytest.raises(InputError, match="--mixup blends the labels of classes, and the loss is your own"):
        autoprune.compress(settings=QUICK, loss=lambda output, batch: output.sum(), mixup=0.2, run=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_an_option_wins_over_the_preset():
    def finetune(**given):
        return Recipe.chosen(Experiment(**given), attention=False).finetune(4, 0)

    plain, default, strong = (finetune(recipe=name) for name in PRESETS)
    assert (plain.distil_weight, plain.label_smoothing, plain.ema) == (0, 0, 0)
    assert default == TrainSettings(epochs=4, lr=0.05, warmup_epochs=0.5)
    assert strong.ema == 0.999 and strong.distil_weight == default.distil_weight
    given = finetune(recipe="strong", ema=0, mixup=0.3, distil=0.2, label_smoothing=0)
    assert (given.ema, given.mixup, given.distil_weight, given.label_smoothing) == (0, 0.3, 0.2, 0)
    assert Experiment.model_fields["recipe"].annotation.__args__ == tuple(PRESETS)


def test_only_fine_tuning_averages_and_blends():
    recipe = Recipe.chosen(Experiment(recipe="strong", mixup=0.3), attention=False)
    assert [getattr(recipe, kind)(4, 0).mixup for kind in ("dense", "finetune", "step")] == [0, 0.3, 0]
    assert [getattr(recipe, kind)(4, 0).ema for kind in ("dense", "finetune", "step")] == [0, 0.999, 0]


def test_a_run_keeps_its_ingredients_and_is_another_without(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strong = autoprune.compress(settings=QUICK, recipe="strong", mixup=0.2, run="runs/strong")
    recipe = json.loads((tmp_path / "runs/strong/report.json").read_text())["recipe"]
    assert (recipe["ema"], recipe["mixup"], recipe["distil"]) == (0.999, 0.2, 0.5)
    plain = autoprune.compress(settings=QUICK, recipe="plain", run="runs/plain")
    assert not torch.equal(*(each.model.state_dict()["fc.weight"] for each in (strong, plain)))
