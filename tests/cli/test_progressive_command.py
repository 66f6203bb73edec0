"""`autoprune progressive` from the command line: what it leaves, what it refuses, how it stands beside the others."""

import json

from tests.support.command_line import TINY

QUICK = ["--train-epochs", "1", "--finetune-epochs", "1", "--step", "30%"]


def test_two_budgets_a_page_a_comparison_and_a_finished_run(autoprune, folder):
    command = ["progressive", *TINY, *QUICK, "--flops", "60%,80%", "--run", "both"]
    done = autoprune(*command)
    assert done.code == 0, done.err
    runs = [folder / "runs" / "both" / f"progressive-{share}" for share in (60, 80)]
    for run in runs:
        files = {path.name for path in run.iterdir()}
        assert {"experiment.yaml", "steps.jsonl", "policy.json", "report.json", "report.html", "tensorboard"} <= files
        assert {f"{name}.safetensors" for name in ("dense", "pruned", "finetuned")} <= files
        assert "Trajectory" in (run / "report.html").read_text()
        report = json.loads((run / "report.json").read_text())
        assert report["budget"]["met"] is True
        assert report["agent"] == "progressive"
    assert (runs[0] / "dense.safetensors").read_bytes() == (runs[1] / "dense.safetensors").read_bytes()
    assert "progressive-60" in autoprune("compare", "runs/both").out
    assert autoprune("export", runs[0], "--format", "safetensors", "--out", "small.safetensors").code == 0

    refused = autoprune(*command)
    assert (refused.code, refused.lines) == (2, 1)
    resumed = autoprune(*command, "--resume")
    assert resumed.code == 0, resumed.err
    assert "nothing is left to do" in resumed.err
    other = autoprune("compress", "--run", runs[0], "--resume", "--agent", "random")
    assert "was started with agent = progressive, not random" in other.error
    tuned = autoprune("finetune", runs[0])
    assert (tuned.code, tuned.lines) == (2, 1)
    assert "autoprune progressive --run" in tuned.error


def test_a_budget_out_of_reach_is_exit_3_with_the_least_reachable_and_no_folder(autoprune, folder):
    outcome = autoprune("progressive", *TINY, *QUICK, "--flops", "0.1%", "--run", "never")
    assert (outcome.code, outcome.lines) == (3, 1)
    assert "least reachable" in outcome.error
    assert list(folder.iterdir()) == []


def test_what_means_nothing_here_is_no_option(autoprune, folder):
    for option in ("--agent", "--episodes", "--accuracy-drop"):
        assert autoprune("progressive", *TINY, option, "1").code == 2
    assert autoprune("compress", *TINY, "--step", "5%").code == 2
    (folder / "e.yaml").write_text("accuracy_drop: 1\n")
    outcome = autoprune("progressive", "e.yaml", *TINY, "--run", "never")
    assert (outcome.code, outcome.lines) == (2, 1)
    assert not (folder / "runs").exists()


def test_what_is_left_out_on_resume_comes_from_its_own_run(autoprune, folder):
    """Without --run too, and beside a run of `compress` that has the same model, data and budget."""
    given = [*TINY, "--flops", "70%"]
    fast = ["--train-epochs", "2", "--finetune-epochs", "1", "--finalists", "1", "--episodes", "2"]
    assert autoprune("compress", *given, *fast).code == 0
    assert autoprune("progressive", *given, *QUICK).code == 0
    names = sorted(path.name for path in (folder / "runs").iterdir())
    assert len(names) == 2
    resumed = autoprune("progressive", *given, "--resume")
    assert resumed.code == 0, resumed.err
    assert "nothing is left to do" in resumed.err
    assert sorted(path.name for path in (folder / "runs").iterdir()) == names
