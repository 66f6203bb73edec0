"""The examples of whole tasks run, from Python and by the command that each of them and the docs name."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch

import autoprune
from autoprune.cli.main import run
from autoprune.pipeline.load import export_run

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("segmentation", "text_classification", "regression", "detection")
SHORT = ("--episodes", "6", "--finalists", "2", "--train-epochs", "1", "--finetune-epochs", "1", "--target", "torch")


def command_of(name):
    """The command in an example's docstring, on one line."""
    text = importlib.import_module(f"examples.{name}").__doc__
    (found,) = re.findall(r"^    (autoprune compress (?:.*\\\n)*.*)$", text, flags=re.MULTILINE)
    return " ".join(found.replace("\\\n", " ").split())


def printed(capsys, name):
    """The figures that an example prints: dense, then fine-tuned, each its score and its cost."""
    importlib.import_module(f"examples.{name}").main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("dense:", "finetuned:"))]
    pairs = [re.findall(r"(?<![\w.])\d[\d,.]*", line.partition(":")[2]) for line in lines]
    return [[float(number.strip(",").replace(",", "")) for number in pair[-2:]] for pair in pairs]


@pytest.mark.parametrize(
    ("name", "share", "least"),
    [
        ("segmentation", 0.5, 0.65),
        pytest.param("text_classification", 0.7, None, marks=pytest.mark.slow),  # its command runs below
        ("regression", 0.4, None),
        ("detection", 0.5, 0.8),
    ],
)
def test_the_example_runs_from_python_and_keeps_its_budget(name, share, least, capsys):
    (dense, dense_cost), (small, cost) = printed(capsys, name)
    assert cost <= share * dense_cost
    if least is not None:
        assert dense > least and small > least
    if name == "regression":
        assert small < 1.2 * dense < 80  # an error: the standard deviation of the targets is 77


@pytest.mark.parametrize("name", TASKS)
def test_the_command_of_the_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command_of(name))[1:]
    at = words.index("--run")
    words[at + 1] = str(tmp_path / "run")
    assert run([*words, *SHORT]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["budget"]["met"]
    score = words[words.index("--score") + 1] if "--score" in words else None
    assert report.get("score_name") == score
    assert (report["finetuned"]["accuracy"] is None) == (score is not None)
    assert report["direction"] == "minimize" if name == "regression" else report.get("direction") != "minimize"


@pytest.mark.parametrize("name", TASKS)
def test_the_docs_have_the_same_command(name):
    text = (ROOT / "docs" / "own-task.md").read_text().replace("\\\n", " ")
    assert command_of(name) in " ".join(text.split())


def test_a_run_of_several_inputs_is_read_back_and_exported(tmp_path, monkeypatch):
    from examples.detection import loaders, loss, network, precision

    train, search, test = loaders()
    result = autoprune.compress(
        network(), train=train, search=search, test=test, budget="flops<=60%", target="torch", agent="uniform",
        episodes=1, finetune_epochs=0, loss=loss, evaluate=precision, run=tmp_path / "run",
    )  # fmt: skip
    small = autoprune.load(tmp_path / "run", model=network())
    batch = next(iter(test))
    with torch.no_grad():
        found, same = (model.eval()(batch["image"], batch["visible"]) for model in (result.model, small))
    assert all(torch.equal(found[name], same[name]) for name in ("logits", "boxes"))
    monkeypatch.setattr("autoprune.pipeline.load.load", lambda path: small)  # its class alone does not say its factory
    for form, suffix in (("onnx", "onnx"), ("pt2", "pt2")):
        export_run(tmp_path / "run", form, tmp_path / f"small.{suffix}")
    session = __import__("onnxruntime").InferenceSession(tmp_path / "small.onnx")
    assert [value.name for value in session.get_inputs()] == ["image", "visible"]
    fed = {"image": batch["image"].numpy(), "visible": batch["visible"].numpy()}
    assert torch.allclose(torch.from_numpy(session.run(None, fed)[0]), found["logits"], atol=1e-4)
