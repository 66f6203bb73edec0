"""The small network out of files: of a run whose model is a user's own, and of a policy with either kind of weights."""

import sys

import pytest
import torch
import yaml

import autoprune
from autoprune.cli.main import run as command
from autoprune.errors import InputError, PolicyMismatchError, RunError
from autoprune.pipeline.load import export_run
from autoprune.run.experiment import Experiment


def same(model, other, images):
    with torch.inference_mode():
        return torch.equal(model(images), other(images))


def test_a_run_gives_its_fine_tuned_network(run, parts):
    found = autoprune.load(run)
    assert found.conv2.weight.shape == (7, 5, 3, 3)
    assert not found.training
    assert same(found, parts.finetuned, parts.images)
    assert not same(found, parts.pruned, parts.images)


def test_a_run_that_was_not_fine_tuned_gives_the_raw_cut(run, parts):
    (run / "finetuned.safetensors").unlink()
    assert same(autoprune.load(str(run)), parts.pruned, parts.images)


def test_a_run_without_weights_says_what_is_missing(run):
    for name in ("finetuned", "pruned"):
        (run / f"{name}.safetensors").unlink()
    with pytest.raises(InputError, match="give the weights"):
        autoprune.load(run)


@pytest.mark.parametrize("form", ["file", "value"])
def test_a_policy_with_dense_weights_is_the_raw_cut_bit_for_bit(run, parts, form):
    source = run / "policy.json" if form == "file" else parts.policy
    found = autoprune.load(source, weights=run / "dense.safetensors")
    for name, tensor in parts.pruned.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    # By hand: the kept rows and columns of the dense weights, and nothing else.
    kept = parts.policy.kept
    expected = parts.dense.conv2.weight[kept["conv2"]][:, kept["conv1"]]
    assert torch.equal(found.conv2.weight, expected)
    assert torch.equal(found.bn2.running_var, parts.dense.bn2.running_var[kept["conv2"]])
    assert torch.equal(found.fc.weight, parts.dense.fc.weight[:, kept["conv2"]])


@pytest.mark.parametrize("form", ["file", "value"])
def test_a_policy_with_fine_tuned_weights_is_the_final_network(run, parts, form):
    source = run / "policy.json" if form == "file" else parts.policy
    assert same(autoprune.load(source, run / "finetuned.safetensors"), parts.finetuned, parts.images)


def test_a_policy_that_keeps_everything_takes_the_dense_weights(run, parts):
    policy = parts.policy.model_copy(update={"units": {"conv1": 8, "conv2": 12}, "kept": None})
    assert same(autoprune.load(policy, run / "dense.safetensors"), parts.dense, parts.images)


def test_a_factory_in_the_current_folder_is_found_by_name(run, parts, tmp_path, monkeypatch):
    (tmp_path / "my_own_nets.py").write_text(
        "from tests.support.nets.exported import Tiny\n\ndef make():\n    return Tiny()\n"
    )
    about = {**parts.policy.model, "name": "my_own_nets:make"}
    parts.policy.model_copy(update={"model": about}).save(run / "policy.json")
    monkeypatch.chdir(tmp_path)
    assert same(autoprune.load(run), parts.finetuned, parts.images)
    monkeypatch.delitem(sys.modules, "my_own_nets")
    monkeypatch.chdir(run)
    with pytest.raises(InputError, match="there is no module my_own_nets"):
        autoprune.load(run)


def test_weights_that_fit_neither_network_are_refused_by_name(run, parts):
    other = parts.policy.model_copy(update={"units": {"conv1": 5, "conv2": 9}, "kept": None})
    with pytest.raises(InputError, match=r"finetuned\.safetensors: conv2\.weight is \[7, 5, 3, 3\].*\[9, 5, 3, 3\]"):
        autoprune.load(other, run / "finetuned.safetensors")


def test_a_policy_of_another_network_is_refused(run, parts):
    model = {**parts.policy.model, "name": "resnet20", "arguments": {"in_channels": 3, "classes": 5}}
    with pytest.raises(PolicyMismatchError, match="made for another model"):
        autoprune.load(parts.policy.model_copy(update={"model": model}), run / "finetuned.safetensors")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no run"):
        autoprune.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sha256": "0"}, "their digest is not"),
        ({"layers": 7}, "fingerprint of the layers is damaged"),
        ({"layers": [[1, 2]]}, "fingerprint of the layers is damaged"),
        ({"layers": []}, "layer 'conv1' is missing"),
    ],
)
def test_a_policy_with_another_fingerprint_is_refused(run, parts, change, text):
    fingerprint = {**parts.policy.model["fingerprint"], "sha256": "other"} | change
    model = {**parts.policy.model, "fingerprint": fingerprint}
    with pytest.raises(PolicyMismatchError, match=text):
        autoprune.load(parts.policy.model_copy(update={"model": model}), run / "dense.safetensors")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"arguments": {"width": 2}}, "arguments of its model"),
        ({"arguments": {"classes": 10**12}}, "arguments of its model"),
        ({"arguments": [1]}, "arguments of its model"),
        ({"example": [1, 3, 10**12, 8]}, "does not name its model and input shape"),
        ({"example": [1, 3, -8, 8]}, "does not name its model and input shape"),
        ({"example": "1, 3, 8, 8"}, "does not name its model and input shape"),
        ({"name": ["resnet20"]}, "does not name its model and input shape"),
        ({"name": "resnet21"}, "the nearest name is resnet"),
    ],
)
def test_what_a_policy_says_of_its_model_is_checked(run, parts, change, text):
    policy = parts.policy.model_copy(update={"model": {**parts.policy.model, **change}})
    with pytest.raises(InputError, match=text):
        autoprune.load(policy, run / "dense.safetensors")


@pytest.fixture
def from_python(run, parts):
    """The run as `autoprune.compress` leaves it for a class that needs arguments."""
    about = {**parts.policy.model, "name": "tests.support.nets.exported:WithArguments", "arguments": {}}
    parts.policy.model_copy(update={"model": about}).save(run / "policy.json")
    settings = Experiment(model="tests.support.nets.exported:WithArguments", data="loaders").model_dump(mode="json")
    (run / "experiment.yaml").write_text(yaml.safe_dump({"settings": settings, "environment": {}}))
    return run


def test_a_run_made_from_python_asks_for_its_network(from_python, parts, tmp_path):
    asks = r"was handed over in Python; give it: autoprune\.load\(run, model=\.\.\.\).*width"
    with pytest.raises(InputError, match=asks) as caught:
        autoprune.load(from_python)
    assert len(str(caught.value).splitlines()) == 1
    for form in ("onnx", "pt2", "safetensors"):
        with pytest.raises(InputError, match=asks):
            export_run(from_python, form, tmp_path / "x")
    assert same(autoprune.load(from_python, model=parts.dense), parts.finetuned, parts.images)


def test_a_run_made_from_python_is_not_fine_tuned_by_the_command(from_python, capfd):
    assert command(["finetune", str(from_python)]) == 2
    error = capfd.readouterr().err
    assert "made from Python" in error and "autoprune.compress(..., run=..., resume=True)" in error
    assert len(error.splitlines()) <= 2


class Words(torch.nn.Module):
    """Token ids in, classes out."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 16)
        self.hidden = torch.nn.Linear(16, 24)
        self.head = torch.nn.Linear(24, 3)

    def forward(self, ids):
        return self.head(torch.relu(self.hidden(self.embedding(ids).mean(1))))


def test_a_run_on_token_ids_is_loaded_and_exported(tmp_path):
    draw = torch.Generator().manual_seed(0)
    ids, labels = torch.randint(0, 20, (64, 6), generator=draw), torch.arange(64) % 3
    batches = [(ids[:32], labels[:32].int()), (ids[32:], labels[32:].int())]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Words().eval()
    settings = {"budget": "flops<=60%", "target": "torch", "agent": "random", "episodes": 3, "finalists": 1}
    result = autoprune.compress(
        model, train=batches, search=batches, test=batches, finetune_epochs=1, run=tmp_path / "words", **settings
    )
    again = autoprune.load(tmp_path / "words", model=model)
    assert same(again, result.model, ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "Words", Words)
        export_run(tmp_path / "words", "onnx", tmp_path / "words.onnx")
    assert (tmp_path / "words.onnx").stat().st_size > 500


def test_a_policy_of_a_space_says_that_its_model_reads_token_ids(tmp_path):
    from autoprune.models import save_weights

    model, ids = Words().eval(), torch.arange(12).reshape(2, 6)
    save_weights(model.state_dict(), tmp_path / "dense.safetensors")
    policy = autoprune.search_space(model, ids).uniform(0.5)
    policy.save(tmp_path / "p.json")
    small = autoprune.load(tmp_path / "p.json", weights=tmp_path / "dense.safetensors", model=Words())
    assert small.hidden.weight.shape == (12, 8) and same(small, autoprune.apply(model, policy, ids).eval(), ids)


def test_a_policy_of_a_space_is_enough_with_the_dense_weights(parts, tmp_path, capfd):
    """As README says: no run, a policy from Python, and the command that applies it."""
    from autoprune.models import save_weights

    example = torch.zeros(1, 1, 16, 16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = autoprune.models.resnet20(in_channels=1).eval()
    save_weights(dense.state_dict(), tmp_path / "dense.safetensors")
    policy = autoprune.search_space(dense, example).uniform(0.5)
    policy.save(tmp_path / "p.json")
    files = [str(tmp_path / "p.json"), "--weights", str(tmp_path / "dense.safetensors")]
    assert command(["apply", *files, "--model", "resnet20", "--out", str(tmp_path / "small.safetensors")]) == 0
    small = autoprune.load(tmp_path / "p.json", weights=tmp_path / "dense.safetensors", model=dense)
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert same(small, autoprune.apply(dense, policy, example).eval(), images)
    assert command(["apply", *files, "--out", str(tmp_path / "small.safetensors")]) == 2
    assert "does not name its model and input shape: it lacks the model; give it" in capfd.readouterr().err
