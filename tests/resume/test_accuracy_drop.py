"""--accuracy-drop: the fastest network that loses no more, found by whole jobs under ever tighter budgets."""

import json

import pytest

from autoprune.cli.main import run
from autoprune.errors import TargetError
from autoprune.run.report import Report
from tests.support.command_line import TINY

JOB = ["compress", *TINY]
JOB += ["--train-epochs", "3", "--finetune-epochs", "2", "--finalists", "2", "--episodes", "15", "--agent", "random"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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
    monkeypatch.setattr("autoprune.pipeline.jobs.accuracy_drop.STEPS", 1)
    monkeypatch.setattr(
        "autoprune.pipeline.jobs.accuracy_drop._step", lambda *_: {"score": 0.5, "dense": 0.9, "reason": None}
    )
    assert run([*JOB, "--accuracy-drop", "0.5", "--run", "b"]) == 3
    assert "loses as little as 0.5 points" in capsys.readouterr().err


def test_it_is_a_budget_of_its_own(folder, capsys):
    assert run([*JOB, "--accuracy-drop", "0.5", "--latency", "50%", "--run", "c"]) == 2
    assert "goes with no other: not with latency" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_from_python(folder, monkeypatch):
    import autoprune
    from tests.support import tiny_job

    monkeypatch.setattr("autoprune.pipeline.jobs.accuracy_drop.STEPS", 2)
    train, search, test = tiny_job.loaders()
    result = autoprune.compress(
        tiny_job.network(),
        train=train,
        search=search,
        test=test,
        budget="accuracy_drop<=90",
        target="tests.support.tiny_job:Formula",
        agent="random",
        episodes=6,
        finetune_epochs=1,
        finalists=1,
    )
    budget = result.report["budget"]
    assert budget["kind"] == "accuracy_drop"
    assert budget["measured"] >= budget["limit"]
    assert int(budget["latency"]["requested"].rstrip("%")) <= 50  # nothing is lost that 90 points would forbid


def test_several_agents_share_dense_weights_and_table(folder, capsys, monkeypatch):
    monkeypatch.setattr("autoprune.pipeline.jobs.accuracy_drop.STEPS", 1)
    assert run([*JOB, "--agent", "random,uniform", "--accuracy-drop", "90", "--run", "both"]) == 0
    assert (
        capsys.readouterr().err.count("training tests.support.tiny_job:network") <= 2
    )  # a first and a last line of one training
    (first,), (second,) = (list((folder / "runs/both" / name).glob("steps/*")) for name in ("random", "uniform"))
    tables = sorted(path.name for path in first.glob("checkpoint/profile-*.json"))
    assert tables and all(
        (second / f"checkpoint/{n}").read_bytes() == (first / f"checkpoint/{n}").read_bytes() for n in tables
    )
    assert (second / "dense.safetensors").read_bytes() == (first / "dense.safetensors").read_bytes()


def test_a_fault_in_the_first_step_costs_nothing_that_was_finished(folder, capsys, monkeypatch):
    def broken(*_):
        raise TargetError("target 'formula': the cable was pulled")

    with monkeypatch.context() as patch:
        patch.setattr("autoprune.pipeline.jobs.compress.tournament", broken)
        assert run([*JOB, "--accuracy-drop", "5", "--run", "a"]) == 4
    step = folder / "runs/a/steps/latency-50"
    kept = (step / "episodes.jsonl").read_bytes(), (step / "dense.safetensors").read_bytes()
    assert run([*JOB, "--accuracy-drop", "5", "--run", "a", "--resume"]) == 0
    assert ((step / "episodes.jsonl").read_bytes(), (step / "dense.safetensors").read_bytes()) == kept
    capsys.readouterr()


def test_the_report_adds_up_the_steps_and_speaks_of_accuracies(folder, capsys):
    assert run([*JOB, "--accuracy-drop", "5", "--run", "a"]) == 0
    said = capsys.readouterr().out
    found = report(folder / "runs/a")
    steps = [json.loads(path.read_text())["seconds"] for path in folder.glob("runs/a/steps/*/report.json")]
    assert len(steps) > 1
    for stage in ("search", "finetune"):
        assert found["seconds"][stage] == pytest.approx(sum(each.get(stage, 0) for each in steps), rel=0.5)
        assert found["seconds"][stage] > max(each.get(stage, 0) for each in steps)
    measured, limit = (f"{100 * found['budget'][name]:.2f} %" for name in ("measured", "limit"))
    assert f"accuracy on the search split, requested 5, limit {limit}, measured {measured}: met" in said
    assert "--logdir runs/a)" in said and not (folder / "runs/a/tensorboard").exists()
    searched = Report.of(found).budget.in_search
    assert searched.kind == "latency" and searched.limit == found["budget"]["latency"]["predicted_limit"]
