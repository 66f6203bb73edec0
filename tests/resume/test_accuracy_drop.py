"""--accuracy-drop: the fastest network that loses no more, found by whole jobs under ever tighter budgets."""

import json
import shutil
from pathlib import Path

import pytest

from autoprune.cli.main import run

HERE = Path(__file__).parent
JOB = ["compress", "--model", "tiny_job:network", "--data", "tiny_job:loaders", "--target", "tiny_job:Formula"]
JOB += ["--train-epochs", "3", "--finetune-epochs", "2", "--finalists", "2", "--episodes", "15", "--agent", "random"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(HERE / "tiny_job.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def report(path):
    return json.loads((path / "report.json").read_text())


def test_the_network_that_is_chosen_is_the_fastest_step_that_loses_no_more(folder, capsys):
    assert run([*JOB, "--accuracy-drop", "5", "--run", "a"]) == 0
    found, budget = report(folder / "runs/a"), report(folder / "runs/a")["budget"]
    journal = json.loads((folder / "runs/a/checkpoint/journal.json").read_text())
    steps = {int(key.split()[1]): value for key, value in journal.items() if key.startswith("step ")}
    within = {s: v for s, v in steps.items() if v["score"] is not None and v["score"] >= v["dense"] - 0.05}
    assert len(steps) == 5
    assert budget["latency"]["requested"] == f"{min(within)}%"
    assert budget["measured"] == within[min(within)]["score"] >= budget["limit"]
    assert all(s not in within for s in steps if s < min(within))
    assert found["finetuned"]["latency_ms"] <= min(within) / 100 * found["dense"]["latency_ms"]
    assert {"policy.json", "finetuned.safetensors", "dense.safetensors", "report.html"} <= {
        p.name for p in (folder / "runs/a").iterdir()
    }
    before = report(folder / "runs/a")
    assert run([*JOB, "--accuracy-drop", "5", "--run", "a", "--resume"]) == 0
    assert report(folder / "runs/a") == before
    capsys.readouterr()


def test_a_drop_that_no_faster_network_keeps_to_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr("autoprune.pipeline.accuracy_drop.STEPS", 1)
    monkeypatch.setattr(
        "autoprune.pipeline.accuracy_drop._step", lambda *_: {"score": 0.5, "dense": 0.9, "reason": None}
    )
    assert run([*JOB, "--accuracy-drop", "0.5", "--run", "b"]) == 3
    assert "loses as little as 0.5 points" in capsys.readouterr().err


def test_it_is_a_budget_of_its_own(folder, capsys):
    assert run([*JOB, "--accuracy-drop", "0.5", "--latency", "50%", "--run", "c"]) == 2
    assert "one budget at a time" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_from_python(folder, monkeypatch):
    import tiny_job

    import autoprune

    monkeypatch.setattr("autoprune.pipeline.accuracy_drop.STEPS", 2)
    train, search, test = tiny_job.loaders()
    result = autoprune.compress(
        tiny_job.network(),
        train=train,
        search=search,
        test=test,
        budget="accuracy_drop<=90",
        target="tiny_job:Formula",
        agent="random",
        episodes=6,
        finetune_epochs=1,
        finalists=1,
    )
    budget = result.report["budget"]
    assert budget["kind"] == "accuracy_drop"
    assert budget["measured"] >= budget["limit"]
    assert int(budget["latency"]["requested"].rstrip("%")) <= 50  # nothing is lost that 90 points would forbid
