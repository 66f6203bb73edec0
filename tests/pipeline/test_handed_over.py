"""What a Python program hands over: left as it is, read the same every time, and refused before hours of work."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import autoprune
from autoprune.data import from_loaders
from autoprune.errors import InputError, RunError, UnsupportedModelError
from autoprune.models import save_weights
from tests.support.listener import Heard
from tests.support.targets.metered_target import energy_by_formula

QUICK = {"budget": "flops<=60%", "target": "torch", "agent": "random", "episodes": 3, "finalists": 2}


def compress(model, loaders, **settings):
    return autoprune.compress(model, **{**loaders, **QUICK, "finetune_epochs": 1, **settings})


def test_a_network_in_training_mode_comes_back_so_module_by_module(trained, loaders):
    model = copy.deepcopy(trained).train()
    model.bn2.eval()
    compress(model, loaders)
    assert [name for name, part in model.named_modules() if not part.training] == ["bn2"]


def test_a_run_is_not_resumed_with_other_weights_and_those_are_kept(trained, loaders, tmp_path):
    compress(trained, loaders, run=tmp_path / "r")
    (tmp_path / "r" / "report.json").unlink()
    other = copy.deepcopy(trained)
    with torch.no_grad():
        other.fc.weight.add_(1.0)
    before = other.fc.weight.clone()
    with pytest.raises(RunError, match="other weights of this network"):
        compress(other, loaders, run=tmp_path / "r", resume=True)
    assert torch.equal(other.fc.weight, before)
    assert compress(copy.deepcopy(trained), loaders, run=tmp_path / "r", resume=True).report["budget"]["met"]


def test_load_leaves_the_model_that_names_the_architecture_alone(trained, tmp_path):
    example = torch.zeros(1, 1, 8, 8)
    policy = autoprune.search_space(trained, example).uniform(0.5)
    save_weights(trained.state_dict(), tmp_path / "dense.safetensors")
    blank = copy.deepcopy(trained)
    with torch.no_grad():
        blank.fc.weight.zero_()
    small = autoprune.load(policy, weights=tmp_path / "dense.safetensors", model=blank)
    assert not blank.fc.weight.any() and small.fc.weight.any()


def relabelled(loaders, change):
    def loader(part):
        return [(images, change(labels)) for images, labels in part]

    return {name: loader(part) for name, part in loaders.items()}


class Asserts(nn.Module):
    def forward(self, x):
        assert x.shape[-1] == 224, "224 pixels are wanted"
        return x


MISFITS = {
    "a class more than outputs": (lambda m: m, lambda y: y + 1, "gives outputs of shape \\[1, 4\\].* has 5 classes"),
    "one logit": (lambda m: nn.Sequential(m, nn.Linear(4, 1)), lambda y: y % 2, "outputs of shape \\[1, 1\\]"),
    "no class numbers": (lambda m: m, lambda y: y.float(), "no class numbers"),
    "labels in columns": (lambda m: m, lambda y: y[:, None], "no class numbers"),
    "frozen": (lambda m: m.requires_grad_(False), lambda y: y, "requires_grad_"),
    "a forward that asserts": (lambda m: nn.Sequential(Asserts(), m), lambda y: y, "AssertionError: 224"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_what_does_not_fit_is_told_before_the_run_begins(what, trained, loaders, tmp_path):
    change, labels, told = MISFITS[what]
    with pytest.raises(InputError, match=told):
        compress(change(copy.deepcopy(trained)), relabelled(loaders, labels), run=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_network_that_cannot_take_its_images_is_one_that_cannot_be_analysed(trained, loaders):
    with pytest.raises(UnsupportedModelError):
        compress(nn.Sequential(Asserts(), trained), loaders)


def test_progressive_needs_weights_that_its_steps_can_train(trained, loaders):
    frozen = copy.deepcopy(trained).requires_grad_(False)
    with pytest.raises(InputError, match="requires_grad_"):
        gently(frozen, loaders, finetune_epochs=0)
    assert gently(frozen, loaders, finetune_epochs=0, step_epochs=0).report["budget"]["met"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_policy_of_a_network_of_another_precision_is_loaded(dtype, trained, tmp_path):
    other = copy.deepcopy(trained).to(dtype)
    example = torch.zeros(1, 1, 8, 8, dtype=dtype)
    policy = autoprune.search_space(other, example).uniform(0.5)
    save_weights(trained.state_dict(), tmp_path / "dense.safetensors")
    assert (
        autoprune.load(policy, weights=tmp_path / "dense.safetensors", model=trained).fc.weight.dtype == torch.float32
    )


def test_a_frozen_network_need_not_be_fine_tuned(trained, loaders):
    frozen = copy.deepcopy(trained).requires_grad_(False)
    assert compress(frozen, loaders, finetune_epochs=0).report["budget"]["met"]


def test_a_loader_with_a_generator_of_its_own_is_read_alike_however_often_it_was_read(loaders):
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(loaders["train"].dataset, batch_size=64, shuffle=True, generator=own)
    kinds = []
    for _ in range(2):
        data = from_loaders(loader, loaders["search"], loaders["test"], calibration_images=64)
        kinds.append((data.calibration[0][0], data.example))
        next(iter(loader))
    assert all(torch.equal(first, second) for first, second in zip(*kinds, strict=True))


class Under(nn.Module):
    """A net under a name of the user's choice."""

    def __init__(self, name, inner):
        super().__init__()
        self.add_module(name, inner)
        self.name = name

    def forward(self, x):
        return self._modules[self.name](x)


def test_a_net_whose_parameters_all_lie_under_module_is_read_back(trained, loaders, tmp_path):
    result = compress(Under("module", copy.deepcopy(trained)), loaders, run=tmp_path / "r")
    small = autoprune.load(tmp_path / "r", model=Under("module", trained))
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(small(x), result.model(x))


def test_a_compiled_net_is_compressed_as_what_it_wraps_and_never_compiled(trained, loaders):
    runs = []

    def backend(graph, example):
        runs.append(graph)
        return graph.forward

    compiled = torch.compile(copy.deepcopy(trained), backend=backend)
    result, plain = compress(compiled, loaders), compress(trained, loaders)
    assert not runs and result.policy.choices == plain.policy.choices
    space = autoprune.search_space(compiled, torch.zeros(1, 1, 8, 8))
    small = autoprune.apply(compiled, space.uniform(0.5), torch.zeros(1, 1, 8, 8))
    assert type(small) is type(trained) and small.fc.in_features < trained.fc.in_features and not runs


class Pair(NamedTuple):
    images: Tensor
    labels: Tensor


class Named(Dataset):
    def __init__(self, of):
        self.of = of

    def __len__(self):
        return len(self.of)

    def __getitem__(self, index):
        return Pair(*self.of[index])


def test_batches_keep_the_names_of_their_parts(trained, loaders):
    named = {
        name: DataLoader(Named(TensorDataset(*part.dataset.tensors)), batch_size=64) for name, part in loaders.items()
    }

    def loss(output, batch):
        return nn.functional.cross_entropy(output, batch.labels)

    def evaluate(model, batches):
        with torch.no_grad():
            right = sum(int((model(batch.images).argmax(1) == batch.labels).sum()) for batch in batches)
        return right / 256

    report = compress(trained, named, loss=loss, evaluate=evaluate, score="accuracy").report
    assert report["finetuned"]["accuracy"] > 0.5


def gently(model, loaders, **settings):
    still = {"budget": "flops<=70%", "target": "tests.support.tiny_job:Formula", "step": "15%", "finetune_epochs": 1}
    return autoprune.progressive(model, **{**loaders, **still, **settings})


def test_every_step_of_progressive_learns_from_batches_of_its_own(trained, loaders):
    seen = []

    def loss(output, batch):
        seen.append(batch[0][0, 0, 0, 0].item())
        return nn.functional.cross_entropy(output, batch[1])

    result = gently(trained, loaders, step_batches=1, finetune_epochs=0, loss=loss)
    steps = result.report["progressive"]["steps"]
    assert steps > 1 and len(set(seen[:steps])) == steps  # behind them the uniform baseline is trained


class Endless(IterableDataset):
    """Images whose number nobody tells."""

    def __init__(self, of):
        self.of = of

    def __iter__(self):
        return iter(self.of)


def test_progressive_counts_a_loader_that_does_not_know_its_length(trained, loaders):
    untold = {**loaders, "train": DataLoader(Endless(loaders["train"].dataset), batch_size=64)}
    result = gently(trained, untold, step_batches=2)
    assert result.report["progressive"]["all_epochs"] == 1 + -(-2 * result.report["progressive"]["steps"] // 8)


@pytest.mark.parametrize(("target", "how"), [("Meter", "measured"), ("NoMeter", "modelled")])
def test_progressive_calls_energy_what_it_is(target, how, trained, loaders, tmp_path):
    import json

    talk = Heard()
    result = gently(
        trained,
        loaders,
        budget="energy<=70%",
        target=f"tests.support.targets.metered_target:{target}",
        run=tmp_path / "r",
        talk=talk,
    )
    rows = [json.loads(line) for line in (tmp_path / "r" / "steps.jsonl").read_text().splitlines()]
    assert {row["how"] for row in rows} == {how} and result.report["budget"]["met"]
    whole = energy_by_formula(copy.deepcopy(trained), torch.zeros(1, 1, 8, 8))
    assert (rows[0]["measured"] == pytest.approx(whole)) == (how == "measured")
    assert any(f", {how} " in line for line in talk.said)


class Auxiliary(nn.Module):
    """A head that is there in training only, as Inception's."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)
        self.aux, self.fc = nn.Conv2d(8, 4, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        out = self.fc(torch.relu(self.b(x)).mean((2, 3)))
        return (out, self.aux(x).mean((2, 3))) if self.training else out


def test_a_branch_that_only_training_runs_is_told_before_the_search(loaders):
    torch.manual_seed(0)
    model = Auxiliary().eval()
    with pytest.raises(UnsupportedModelError, match=r"in training what it does not in evaluation.*--skip"):
        compress(model, loaders)
    result = compress(model, loaders, skip=["a"], budget="flops<=80%")
    assert result.model.a.weight.shape[0] == 8 > result.model.b.weight.shape[0]
