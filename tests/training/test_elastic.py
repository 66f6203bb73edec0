"""A network trained at all widths: the narrow ones are cuts of it, its training resumes, and its cuts score higher."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import autoprune
from autoprune.errors import InputError
from autoprune.evaluation import accuracy
from autoprune.graph import analyse, cut, index_map
from autoprune.models import read_weights
from autoprune.reconstruction.candidate_weights import Elastic, Fitting, Recalibrated
from autoprune.training import Trainer, TrainSettings
from autoprune.training.elastic import AllWidths, SandwichLoss

OPTIONS = {"0": (2, 4, 8), "3": (3, 6)}
ORDER = {"0": [5, 1, 0, 7, 2, 3, 4, 6], "3": [2, 5, 1, 0, 4, 3]}


def kept(choices):
    return {name: sorted(ORDER[name][:units]) for name, units in choices.items()}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


@pytest.fixture
def whole():
    model = network()
    return AllWidths(model, analyse(model, torch.zeros(1, 1, 8, 8)), kept, OPTIONS)


def test_narrow_outputs_and_gradients_are_those_of_cuts_of_the_weights_as_they_are_now(whole):
    images, model = torch.randn(16, 1, 8, 8), whole.network
    analysis = analyse(model, images[:1])
    with torch.no_grad():
        for parameter in model.parameters():  # the weights move after the wrapper was built
            parameter.add_(0.1 * torch.randn_like(parameter))
    drawn = [{"0": 2, "3": 3}, {"0": 4, "3": 6}, {"0": 8, "3": 3}]
    whole._drawn = lambda: drawn
    outputs = whole.train()(images)
    for output, choices in zip(outputs[1:], drawn, strict=True):
        small = cut(model, analysis, kept(choices)).train()
        assert torch.allclose(output, small(images), atol=1e-5)
        own = torch.autograd.grad(output.square().sum(), list(model.parameters()), retain_graph=True)
        small(images).square().sum().backward()
        slices = index_map(analysis, kept(choices))
        for (name, parameter), gradient in zip(small.named_parameters(), own, strict=True):
            for dim, index in slices.get(name, ()):
                gradient = gradient.index_select(dim, index)
            assert torch.allclose(gradient, parameter.grad, atol=1e-4), name
            assert gradient.abs().sum() == pytest.approx(float(parameter.grad.abs().sum()), abs=1e-2)
    assert torch.equal(whole.eval()(images), model(images))


def test_every_step_runs_the_whole_the_narrowest_and_two_drawn_ones(whole):
    torch.manual_seed(1)
    drawn = [whole._drawn() for _ in range(200)]
    assert all(each[0] == {"0": 2, "3": 3} for each in drawn)
    assert {each[1]["0"] for each in drawn} == {2, 4, 8}
    together = {(each[1]["0"], each[1]["3"]) for each in drawn}
    assert (8, 3) not in together and (2, 6) not in together  # one ratio for all
    assert {(each[2]["0"], each[2]["3"]) for each in drawn} == {(a, b) for a in (2, 4, 8) for b in (3, 6)}


def test_the_narrow_ones_learn_from_the_whole_one_alone():
    whole, narrow = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0])
    loss = SandwichLoss()([whole, narrow], (None, labels))
    hard = nn.functional.cross_entropy(whole, labels)
    p, q = whole.softmax(1).detach(), narrow.log_softmax(1)
    assert torch.allclose(loss, hard + (p * (p.log() - q)).sum(1).mean(), atol=1e-5)
    loss.backward()
    assert torch.allclose(whole.grad, torch.autograd.grad(nn.functional.cross_entropy(whole, labels), whole)[0])
    own = SandwichLoss(lambda output, batch: output.mean() + batch[1].sum())([whole, narrow], (None, labels))
    assert torch.allclose(own, whole.mean() + narrow.mean() + 2 * labels.sum())


def trainer():
    model = network()
    wrapped = AllWidths(model, analyse(model, torch.zeros(1, 1, 8, 8)), kept, OPTIONS)
    draw = torch.Generator().manual_seed(3)
    batches = [(torch.randn(16, 1, 8, 8, generator=draw), torch.randint(0, 4, (16,), generator=draw)) for _ in range(3)]
    return Trainer(wrapped, batches, TrainSettings(epochs=4, lr=0.05, bf16=False), loss=SandwichLoss())


def test_an_interrupted_training_ends_as_the_whole_one():
    through, first, second = trainer(), trainer(), trainer()
    through.run()
    first.run(2)
    second.load_state_dict(first.state_dict())
    second.run()
    ours, theirs = through.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert not torch.equal(ours["network.0.weight"], network()[0].weight)


def test_recurrent_layers_are_refused():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0][:, -1])

    model = Net()
    with pytest.raises(InputError, match="recurrent layer rnn"):
        AllWidths(model, analyse(model, torch.zeros(1, 5, 4)), kept, {})


def test_candidates_are_slices_of_the_trained_copy_and_masks_stay():
    model, trained = network().eval(), network()
    with torch.no_grad():
        model[3].weight[:, 1] = 0
        for parameter in trained.parameters():
            parameter.add_(1.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(20, 1, 8, 8)
    analysis, chosen = analyse(model, images[:1]), kept({"0": 4, "3": 6})
    weights = Elastic(Fitting(model, [(images, None)], all_widths=trained.state_dict))
    small = cut(model, analysis, chosen)
    weights.prepare(small, index_map(analysis, chosen))
    assert torch.equal(small[0].weight, trained[0].weight[chosen["0"]])
    assert torch.equal(small[3].bias, trained[3].bias) and not small[3].weight[:, chosen["0"].index(1)].any()
    with torch.no_grad():
        inputs = small[0](images)
    assert torch.allclose(small[1].running_mean, inputs.mean((0, 2, 3)), atol=0.02)  # in bfloat16
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_job_trains_it_once_and_leaves_the_dense_network_the_users_own(tmp_path):
    from tests.support.tiny_job import images, network

    torch.manual_seed(0)
    model = network()
    loaders = {"train": DataLoader(images(256, 0), batch_size=64, shuffle=True)}
    loaders |= {"search": DataLoader(images(120, 1), batch_size=64), "test": DataLoader(images(120, 2), batch_size=64)}
    Trainer(model, loaders["train"], TrainSettings(epochs=6, lr=0.1, bf16=False)).run()
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {"budget": "flops<=40%", "target": "torch", "agent": "random", "episodes": 3, "finetune_epochs": 0}
    given |= {"candidate_weights": "elastic", "elastic_epochs": 3, "granularity": 4, "finalists": 1}
    result = autoprune.compress(model, **loaders, **given, run=tmp_path / "run")
    dense, elastic = (
        read_weights(tmp_path / "run" / n) for n in ("dense.safetensors", "checkpoint/elastic.safetensors")
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.items())
    assert not torch.equal(elastic["conv2.weight"], dense["conv2.weight"])
    assert result.report["dense"]["accuracy"] == accuracy(model, loaders["test"], bf16=False)
    rows = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert rows and not list((tmp_path / "run" / "checkpoint").glob("elastic.pt"))
    analysis = analyse(model, torch.zeros(1, 1, 8, 8))
    calibration, test = list(loaders["train"])[:2], list(loaders["test"])
    narrow = {group.name: range(group.width // 4) for group in analysis.groups}
    scores = []
    for weights in (
        Elastic(Fitting(model, calibration, all_widths=lambda: elastic)),
        Recalibrated(Fitting(model, calibration)),
    ):
        small = cut(model, analysis, narrow)
        weights.prepare(small, index_map(analysis, narrow))
        scores.append(accuracy(small, test))
    assert scores[0] > scores[1]
