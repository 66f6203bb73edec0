"""A dry run tries everything, says what a job would do and how long it would take, and leaves nothing behind."""

import time

import pytest
import torch

import autoprune
from autoprune.errors import InputError

SETTINGS = {"budget": "flops<=50%", "target": "torch", "agent": "random", "episodes": 6, "finetune_epochs": 2}


def test_the_plan_has_the_stages_of_the_job_and_nothing_is_written(trained, loaders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    plan = autoprune.compress(trained, **loaders, **SETTINGS, run="planned", dry_run=True)
    assert [stage.name for stage in plan.stages] == ["search with random", "fine-tuning", "test"]
    assert all(0 < stage.seconds < 600 for stage in plan.stages)
    assert plan.seconds == pytest.approx(sum(stage.seconds for stage in plan.stages))
    assert plan.decisions == {"channels": 2} and "fc" in plan.frozen
    dense = autoprune.flops(trained, torch.zeros(1, 1, 8, 8))
    assert f"at most {dense // 2:,} of {dense:,} MACs" in str(plan) and "6 episodes" in str(plan)
    assert plan.run == "planned" and "report.json" in plan.written
    assert not list(tmp_path.iterdir())
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())


def test_the_estimate_of_a_small_job_is_of_the_right_size(trained, loaders, tmp_path):
    plan = autoprune.compress(trained, **loaders, **SETTINGS, dry_run=True)
    start = time.monotonic()
    autoprune.compress(trained, **loaders, **SETTINGS, run=tmp_path / "run")
    assert plan.seconds < 10 * (time.monotonic() - start)  # a job of seconds is mostly its preparation


def test_progressive_says_how_many_steps(trained, loaders):
    settings = {"budget": "flops<=50%", "target": "torch", "finetune_epochs": 1, "step": "10%", "step_decay": 1.0}
    plan = autoprune.progressive(trained, **loaders, **settings, dry_run=True)
    (steps,) = [stage for stage in plan.stages if stage.name == "steps"]
    assert "about 5 steps of 2 candidates and 8 training steps" in steps.source and "steps.jsonl" in plan.written


def test_what_would_fail_fails_in_the_dry_run(trained, loaders):
    with pytest.raises(InputError, match="loss"):
        autoprune.compress(trained, **loaders, **SETTINGS, loss=lambda output, batch: None, dry_run=True)


def test_one_callback_is_a_list_of_one(trained, loaders):
    heard = []
    settings = {**SETTINGS, "episodes": 2, "finetune_epochs": 0}
    autoprune.compress(trained, **loaders, **settings, callbacks=lambda progress, event: heard.append(event))
    assert heard


def test_the_command_prints_the_plan(tmp_path, monkeypatch, capsys):
    from autoprune.cli.main import run

    monkeypatch.chdir(tmp_path)
    given = ["--model", "resnet20", "--data", "digits", "--flops", "50%", "--agent", "random", "--episodes", "5"]
    assert run(["search", *given, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "plan for resnet20: 12 decisions (12 of kind channels)" in said and "5 episodes" in said
    assert "training of the dense network" in said and "would be written to runs/" in said
    assert not list(tmp_path.iterdir())
