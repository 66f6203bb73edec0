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


@pytest.mark.parametrize("nest", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_in_their_usual_forms(tmp_path: Path, nest: str | None, prefix: str) -> None:
    model, other = small(), small()
    named = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    torch.save(named if nest is None else {nest: named, "epoch": 3}, tmp_path / "w.pt")
    models.load_weights(other, tmp_path / "w.pt")
    assert same(model.state_dict(), other.state_dict())


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
