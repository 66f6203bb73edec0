"""Weights: what is written comes back; what does not fit, or could run code, is refused."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune import models
from autoprune.errors import InputError


def small(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, outputs))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_saved_is_read_back_exactly(tmp_path: Path) -> None:
    model, other = small(), small()
    path = tmp_path / "new" / "w.safetensors"
    models.save_weights(model.state_dict(), path)
    models.load_weights(other, path)
    assert same(model.state_dict(), other.state_dict())
    assert [child.name for child in path.parent.iterdir()] == ["w.safetensors"]  # nothing left beside it


def test_shared_and_strided_tensors_can_be_saved(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    models.save_weights({"a": weight, "b": weight.T}, tmp_path / "w.safetensors")
    assert torch.equal(models.read_weights(tmp_path / "w.safetensors")["b"], weight.T)


def test_a_failed_save_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    models.save_weights({"a": torch.ones(1)}, path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        models.save_weights({"a": torch.zeros(1)}, path)
    assert [child.name for child in tmp_path.iterdir()] == ["w.safetensors"]
    assert models.read_weights(path)["a"] == 1


NESTS = [None, "state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module"]
NESTS += ["model_ema", "state_dict_ema", "ema", "the_user_s_own"]


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "model._orig_mod.", "module.backbone."])
def test_checkpoints_in_their_usual_forms(tmp_path: Path, nest: str | None, prefix: str) -> None:
    model, other = small(), small()
    named = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9).state_dict()
    content = named if nest is None else {"epoch": 3, "optimizer": optimizer, nest: named, "args": {"lr": 0.1}}
    torch.save(content, tmp_path / "w.pt")
    models.load_weights(other, tmp_path / "w.pt")
    assert same(model.state_dict(), other.state_dict())


def prefixed(prefix: str, model: nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


def test_of_averaged_and_plain_weights_the_averaged_are_taken(tmp_path: Path) -> None:
    plain, averaged, other = small(), small(), small()
    beside = {"n_averaged": torch.tensor(7), **prefixed("module.", averaged)}  # as torch.optim.swa_utils saves them
    torch.save({"model": plain.state_dict(), "model_ema": beside}, tmp_path / "w.pt")
    models.load_weights(other, tmp_path / "w.pt")
    assert same(averaged.state_dict(), other.state_dict())


def test_what_lies_beside_the_prefix_belongs_to_the_trainer(tmp_path: Path) -> None:
    model, other = small(), small()
    torch.save({"state_dict": {**prefixed("model.", model), "loss.weight": torch.ones(3)}}, tmp_path / "w.ckpt")
    models.load_weights(other, tmp_path / "w.ckpt")
    assert same(model.state_dict(), other.state_dict())


def test_weights_of_two_networks_are_not_chosen_from(tmp_path: Path) -> None:
    torch.save({**prefixed("student.", small()), **prefixed("teacher.", small())}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"several prefixes \('student\.', 'teacher\.'\)"):
        models.load_weights(small(), tmp_path / "w.pt")
    torch.save({"generator": small().state_dict(), "critic": small().state_dict()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"several networks \(generator, critic\)"):
        models.load_weights(small(), tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["module", "model", "net"])
def test_names_that_are_the_model_s_own_are_no_prefix(tmp_path: Path, name: str) -> None:
    model, other = nn.ModuleDict({name: small()}), nn.ModuleDict({name: small()})
    models.save_weights(model.state_dict(), tmp_path / "w.safetensors")
    models.load_weights(other, tmp_path / "w.safetensors")
    assert same(model.state_dict(), other.state_dict())
    assert next(iter(models.read_weights(tmp_path / "w.safetensors"))).startswith(f"{name}.")


def test_a_wrapped_model_takes_the_weights_of_what_it_wraps(tmp_path: Path) -> None:
    model, wrapped = small(), nn.DataParallel(small())
    models.save_weights(model.state_dict(), tmp_path / "w.safetensors")
    models.load_weights(wrapped, tmp_path / "w.safetensors")
    assert same(model.state_dict(), wrapped.module.state_dict())


def test_a_refusal_names_the_prefix_and_where_it_looked(tmp_path: Path) -> None:
    named = prefixed("model.", small())
    named.pop("model.3.bias")
    torch.save({"state_dict": named}, tmp_path / "w.ckpt")
    with pytest.raises(InputError, match=r"no 3\.bias under the prefix 'model\.'"):
        models.load_weights(small(), tmp_path / "w.ckpt")
    torch.save({"state_dict": {"encoder.w": torch.ones(2), "encoder.v": torch.ones(2)}}, tmp_path / "w.ckpt")
    with pytest.raises(InputError, match=r"its names: encoder\.w, encoder\.v"):
        models.load_weights(small(), tmp_path / "w.ckpt")
    torch.save({"epoch": 3, "net": {}}, tmp_path / "w.ckpt")
    with pytest.raises(InputError, match=r"no weights under .*state_dict, .*net"):
        models.load_weights(small(), tmp_path / "w.ckpt")


def test_infinite_parameters_are_refused_and_masks_of_minus_infinity_are_not(tmp_path: Path) -> None:
    model = small()
    model.register_buffer("mask", torch.full((2,), -torch.inf))
    models.save_weights(model.state_dict(), tmp_path / "w.safetensors")
    models.load_weights(model, tmp_path / "w.safetensors")
    broken = {**model.state_dict(), "3.weight": torch.full((3, 4), torch.inf)}
    models.save_weights(broken, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"3\.weight has infinite values"):
        models.load_weights(model, tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda state: state.pop("1.running_mean"), "has no 1.running_mean"),
        (
            lambda state: state.update({"0.weight": torch.zeros(4, 1, 5, 5)}),
            r"0.weight is \[4, 1, 5, 5\] .* \[4, 1, 3, 3\]",
        ),
        (lambda state: state.update({"9.extra": torch.zeros(1)}), "has 9.extra, which the model does not have"),
        (lambda state: state["3.bias"].fill_(float("nan")), "3.bias has values that are not a number"),
    ],
)
def test_the_first_entry_that_differs_is_named_and_the_model_left_alone(tmp_path: Path, edit, said: str) -> None:
    model, state = small(), {name: tensor.clone() for name, tensor in small().state_dict().items()}
    edit(state)
    models.save_weights(state, tmp_path / "w.safetensors")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=said):
        models.load_weights(model, tmp_path / "w.safetensors")
    assert same(before, model.state_dict())


class Trap:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_checkpoint_that_would_run_code_is_refused_unrun(tmp_path: Path, writer) -> None:
    writer({"state_dict": {"w": torch.ones(1)}, "hook": Trap(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="could run code"):
        models.read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_a_whole_saved_model_is_refused(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "model.pt")
    with pytest.raises(InputError, match="could run code"):
        models.read_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"garbage of some length", b"PK\x03\x04 torn", b"\x80\x02torn"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as caught:
        models.read_weights(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_file_and_other_contents(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights file"):
        models.read_weights(tmp_path / "absent.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds list"):
        models.read_weights(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    with pytest.raises(InputError, match="'epoch' is int, not a tensor"):
        models.read_weights(tmp_path / "epoch.pt")
