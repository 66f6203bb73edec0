"""Exported files give the network's outputs, in any batch; one that would not is never written."""

import copy

import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import autoprune
from autoprune.cli.main import app
from autoprune.errors import AutopruneError, InputError, RunError, UnsupportedModelError
from autoprune.export import formats as export
from autoprune.export import onnx as onnx_export
from autoprune.models import read_weights
from autoprune.pipeline.load import FORMATS, export_run
from tests.support.nets.exported import TwoImages, stirred

EXAMPLE = torch.zeros(1, 3, 8, 8)
WRITERS = {"onnx": export.export_onnx, "pt2": export.export_pt2}


def outputs_of(form, path, images):
    """What another program gets from the file."""
    if form == "pt2":
        return torch.export.load(path).module()(images)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_outputs_are_the_networks_in_any_batch(run, parts, tmp_path, form):
    out = tmp_path / f"small.{form}"
    said = CliRunner().invoke(app, ["export", str(run), "--format", form, "--out", str(out)])
    assert (said.exit_code, said.output.split()[0]) == (0, f"{form}:"), said.output
    for batch in (1, 2, 5):
        images = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch))
        with torch.inference_mode():
            assert torch.allclose(outputs_of(form, out, images), parts.finetuned(images), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [out.name]


def test_pt2_holds_the_small_network_and_no_more(run, parts, tmp_path):
    export_run(run, "pt2", tmp_path / "small.pt2")
    held = torch.export.load(tmp_path / "small.pt2").state_dict
    assert {name: tuple(t.shape) for name, t in held.items()} == {
        name: tuple(t.shape) for name, t in parts.finetuned.state_dict().items()
    }
    assert torch.equal(held["conv2.weight"], parts.finetuned.conv2.weight)


def test_weights_and_policy_are_written_as_they_are(run, parts, tmp_path):
    export_run(run, "safetensors", tmp_path / "w.safetensors")
    export_run(run, "policy", tmp_path / "p.json")
    written = read_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in parts.finetuned.state_dict().items())
    assert autoprune.Policy.load(tmp_path / "p.json") == parts.policy


def exporting_another(form, other, monkeypatch):
    """Makes the exporter export another network than it is given: what a faulty exporter would do."""
    if form == "onnx":
        real = onnx_export.to_onnx
        monkeypatch.setattr(onnx_export, "to_onnx", lambda model, *a, **k: real(other(model), *a, **k))
    else:
        real = export._exported
        monkeypatch.setattr(export, "_exported", lambda model, example: real(other(model), example))


def slightly_other(model):
    """One weight of the last layer off by a thousandth of its largest."""
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        wrong.fc.bias[2] += 2e-3 * wrong.fc.weight.abs().max()
    return wrong


def not_a_number(model):
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        wrong.fc.bias[0] = torch.nan
    return wrong


def more_classes(model):
    wrong = copy.deepcopy(model)
    wrong.fc = nn.Linear(model.fc.in_features, 6)
    return wrong


@pytest.mark.parametrize("form", ["onnx", "pt2"])
@pytest.mark.parametrize(
    ("other", "text"),
    [(slightly_other, r"differ from PyTorch's by"), (not_a_number, "differ.* nan"), (more_classes, r"shape \[1, 6\]")],
)
def test_an_export_whose_outputs_differ_is_refused_and_nothing_is_written(
    parts, tmp_path, monkeypatch, form, other, text
):
    exporting_another(form, other, monkeypatch)
    out = tmp_path / f"small.{form}"
    with pytest.raises(AutopruneError, match=text) as caught:
        WRITERS[form](parts.finetuned, EXAMPLE, out)
    assert caught.value.exit_code == 1
    assert "was not written" in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_what_was_there_stays_when_an_export_is_refused(run, tmp_path, monkeypatch, form):
    exporting_another(form, slightly_other, monkeypatch)
    out = tmp_path / f"small.{form}"
    out.write_bytes(b"of yesterday")
    said = CliRunner().invoke(app, ["export", str(run), "--format", form, "--out", str(out)])
    assert isinstance(said.exception, AutopruneError)
    assert out.read_bytes() == b"of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", out.name]


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_network_without_a_dynamic_batch_is_refused(tmp_path, form):
    with pytest.raises(UnsupportedModelError, match="cannot") as caught:
        WRITERS[form](stirred(TwoImages(), 0), EXAMPLE, tmp_path / "x")
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_the_network_itself_is_left_as_it_was(parts, tmp_path, form):
    before = {name: tensor.clone() for name, tensor in parts.finetuned.state_dict().items()}
    WRITERS[form](parts.finetuned, EXAMPLE, tmp_path / "x")
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts.finetuned.state_dict().items())
    assert all(p.requires_grad for p in parts.finetuned.parameters())


def test_unknown_formats_and_unfinished_runs_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="known: onnx, pt2, safetensors, policy"):
        export_run(run, "pt3", tmp_path / "x")
    (run / "finetuned.safetensors").unlink()
    for form in FORMATS[:3]:
        with pytest.raises(RunError, match="has not been fine-tuned yet"):
            export_run(run, form, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "pretrained"])
def test_a_place_that_cannot_be_written_is_named(run, tmp_path, form):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot .*written|cannot write"):
        export_run(run, form, tmp_path / "file" / "out")
