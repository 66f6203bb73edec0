"""The script that trains dense networks, on a small one."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from autoprune import data, models
from autoprune.evaluation import accuracy

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_dense.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_dense_under_test", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["train_dense.py", *arguments])
    try:
        return script.main()
    finally:
        torch.set_num_threads(threads)


def test_it_writes_weights_and_the_figures_they_have(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.safetensors"
    common = ("--data", "digits", "--model", "plain20", "--epochs", "2", "--threads", "1", "--out", str(out))
    assert run(script, monkeypatch, *common, "--state", str(tmp_path / "state")) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed[:-1]] == ["1/2", "2/2"]
    figures = json.loads(out.with_suffix(".json").read_text())
    assert figures == json.loads(printed[-1])
    model = models.build("plain20", in_channels=1, seed=3)
    models.load_weights(model, out)
    assert accuracy(model, data.load("digits").test, bf16=False) == figures["test_accuracy"]
    # Given again, a finished training is not trained again but written anew.
    out.unlink()
    assert run(script, monkeypatch, *common, "--state", str(tmp_path / "state")) == 0
    assert out.is_file()
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_wrong_name_is_one_line_and_an_exit_status(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, monkeypatch, "--model", "resnet21", "--data", "digits", "--out", str(tmp_path / "w")) == 2
    assert capsys.readouterr().err.startswith("error: there is no model 'resnet21'")
    assert list(tmp_path.iterdir()) == []
