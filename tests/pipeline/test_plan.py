"""A dry run tries everything, says what a job would do and how long it would take, and leaves nothing behind."""

import time

import pytest
import torch

import autoprune
from autoprune.errors import InputError

SETTINGS = {
    "budget": "flops<=50%",
    "target": "tests.support.tiny_job:Formula",
    "agent": "random",
    "episodes": 6,
    "finetune_epochs": 2,
}


def test_the_plan_has_the_stages_of_the_job_and_nothing_is_written(trained, loaders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    plan = autoprune.compress(trained, **loaders, **SETTINGS, run="planned", dry_run=True)
    assert [stage.name for stage in plan.stages] == [
        "preparation",
        "search with random",
        "verification on the target",
        "fine-tuning",
        "test",
    ]
    assert all(0 < stage.seconds < 600 for stage in plan.stages)
    assert plan.seconds == pytest.approx(sum(stage.seconds for stage in plan.stages))
    assert plan.decisions == {"channels": 2} and "fc" in plan.frozen
    dense = autoprune.flops(trained, torch.zeros(1, 1, 8, 8))
    assert f"at most {dense // 2:,} of {dense:,} MACs" in str(plan) and "6 episodes" in str(plan)
    assert plan.run == "planned" and "report.json" in plan.written
    assert not list(tmp_path.iterdir())
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())


def test_the_estimate_of_a_small_job_is_of_the_right_size(trained, loaders, tmp_path):
    settings = {**SETTINGS, "target": "torch", "timing": "quick", "finetune_epochs": 4}
    plan = autoprune.compress(trained, **loaders, **settings, dry_run=True)
    start = time.monotonic()
    autoprune.compress(trained, **loaders, **settings, run=tmp_path / "run")
    taken = time.monotonic() - start
    assert taken / 5 < plan.seconds < 5 * taken  # by two on a quiet machine: benchmarks/plan_estimates.py


def stage(plan, name):
    (found,) = [each for each in plan.stages if each.name == name]
    return found


def test_the_epochs_are_those_that_the_job_trains(trained, loaders, tmp_path):
    """The plan and the job ask for rounds, seeds and the default length at the same place."""
    settings = {**SETTINGS, "episodes": 8, "finalists": 3, "finetune_epochs": 3, "finetune_seeds": 2}
    plan = autoprune.compress(trained, **loaders, **settings, dry_run=True)
    epochs = []
    autoprune.compress(
        trained, **loaders, **settings, run=tmp_path / "r", callbacks=lambda _, event: epochs.append(event.kind)
    )
    announced = int(stage(plan, "fine-tuning").source.split()[0])
    trained_epochs = epochs.count("epoch")
    assert announced - 3 * 2 - 2 <= trained_epochs <= announced  # the uniform policy may be the winner, or a finalist


def test_what_candidates_are_given_is_in_the_plan(trained, loaders):
    settings = {**SETTINGS, "candidate_weights": "elastic", "elastic_epochs": 7}
    plan = autoprune.compress(trained, **loaders, **settings, dry_run=True)
    assert stage(plan, "training of all widths").source.startswith("7 epochs of 8 steps")
    assert "training of all widths" not in str(autoprune.compress(trained, **loaders, **SETTINGS, dry_run=True))


def test_the_search_for_an_order_of_units_is_in_the_plan(trained, loaders):
    plain = {"kinds": ("nm",), "flops": "60%", "episodes": 2, "agent": "random", "dry_run": True}
    assert "order of units" not in str(autoprune.compress(trained, **loaders, **plain, techniques="nm"))
    plan = autoprune.compress(trained, **loaders, **plain, techniques="nm@permute=7")
    assert [stage.seconds for stage in plan.stages if stage.name == "order of units"] == [7]


def test_single_cuts_are_in_the_plan_of_an_agent_that_wants_them(trained, loaders, tmp_path):
    settings = {**SETTINGS, "agent": "greedy", "episodes": 2, "finetune_epochs": 0}
    plan = autoprune.compress(trained, **loaders, **settings, dry_run=True)
    autoprune.compress(trained, **loaders, **settings, run=tmp_path / "r")
    scored = (tmp_path / "r" / "checkpoint" / "sensitivity.jsonl").read_text().splitlines()
    assert stage(plan, "single cuts").source.startswith(f"{len(scored)} candidates")


def test_a_bisection_by_accuracy_is_planned_as_its_five_jobs(trained, loaders):
    settings = {name: value for name, value in SETTINGS.items() if name != "budget"}
    one = autoprune.compress(trained, **loaders, **settings, budget="latency<=50%", timing="quick", dry_run=True)
    five = autoprune.compress(trained, **loaders, **settings, budget="accuracy_drop<=2", timing="quick", dry_run=True)
    assert "5 jobs" in stage(five, "fine-tuning").source and "5 jobs" not in stage(one, "fine-tuning").source
    assert stage(five, "test").seconds > 2 * stage(one, "test").seconds


def test_a_sweep_has_a_plan_a_run_and_writes_nothing(trained, loaders, tmp_path):
    settings = {**SETTINGS, "agent": "random,uniform"}
    plans = autoprune.sweep(trained, **loaders, **settings, run=tmp_path / "sweep", dry_run=True)
    assert list(plans) == ["random", "uniform"] and not list(tmp_path.iterdir())
    assert "6 episodes" in str(plans["random"]) and "1 episodes" in str(plans["uniform"])


def test_progressive_says_how_many_steps(trained, loaders):
    settings = {
        "budget": "flops<=50%",
        "target": "tests.support.tiny_job:Formula",
        "finetune_epochs": 1,
        "step": "10%",
        "step_decay": 1.0,
    }
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


def test_workers_share_the_candidates_of_a_plan(trained, loaders, monkeypatch):
    from autoprune.pipeline.plan import stages
    from autoprune.pipeline.plan.clock import Clock

    monkeypatch.setattr(stages.os, "sched_getaffinity", lambda _: {0, 1, 2})
    for name, seconds in (("candidate_of_round", 3.0), ("episode", 0.5), ("fitting", 2.0)):
        monkeypatch.setattr(Clock, name, seconds)
    for settings, together in (
        ({}, 1),
        ({"batch": 4, "workers": 2}, 2),
        ({"workers": 8}, 3),  # no more than there are processors
        ({"storage": "journal:log"}, 1),
    ):
        plan = autoprune.compress(trained, **loaders, **SETTINGS, **settings, dry_run=True)
        (search,) = [stage for stage in plan.stages if stage.name.startswith("search")]
        assert search.seconds == pytest.approx(2 + 6 * (3 / together + 0.5))
        assert (f"{together} at the same time" in search.source) == (together > 1)
        assert ("workers that join" in search.source) == ("storage" in settings)


def test_processes_share_the_trainings_of_a_plan(trained, loaders, monkeypatch):
    from autoprune.pipeline.finish.lengths import epochs_of_compress
    from autoprune.pipeline.plan import stages
    from autoprune.pipeline.plan.clock import Clock

    monkeypatch.setattr(stages.os, "sched_getaffinity", lambda _: {0, 1, 2})
    for name, seconds in (("tuning_step", 1.0), ("candidate", 0.0)):
        monkeypatch.setattr(Clock, name, seconds)
    settings = {**SETTINGS, "finalists": 6, "finetune_epochs": 10, "train_threads": 1}
    for own, together in (({}, 1), ({"workers": 2}, 2), ({"workers": 8}, 3)):
        plan = autoprune.compress(trained, **loaders, **settings, **own, dry_run=True)
        tuning = stage(plan, "fine-tuning")
        assert tuning.seconds == 8 * epochs_of_compress(7, 10, 1, together)  # eight steps an epoch
        assert (f"{together} networks at the same time" in tuning.source) == (together > 1)


def test_every_job_has_a_plan_from_python_that_writes_nothing(trained, loaders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = {**loaders, "target": "onnxruntime", "timing": "quick", "run": "planned", "dry_run": True}
    plans = [
        autoprune.sparsify(trained, recipe="asp", finetune_epochs=2, train_baselines=True, **common),
        autoprune.quantize(trained, **common),
        autoprune.lottery(trained, rounds=2, seeds=1, train_epochs=1, **common),
        autoprune.dynamic(trained, static_episodes=0, **common),
        autoprune.codesign(trained, accelerator="systolic", episodes=2, vectors=2, **{**common, "target": "torch"}),
    ]
    for plan in plans:
        assert plan.run == "planned" and "report.json" in plan.written and 0 < plan.seconds < 3600
    assert [stage.name for stage in plans[0].stages] == [
        "preparation",
        "training under the masks",
        "training of the baselines",
        "verify",
        "test",
    ]
    assert stage(plans[0], "training under the masks").source.startswith("2 epochs of 8 steps")
    assert "2:4 by l1, recipe asp" in str(plans[0]) and plans[0].decisions["weight"] > 0
    assert not list(tmp_path.iterdir())


def test_a_job_of_another_package_may_have_a_plan(trained, loaders):
    from autoprune.pipeline.jobs.registry import job_named
    from autoprune.pipeline.plan.registry import PLANS, plan_for

    job = type("Foreign", (type(job_named("search")),), {"name": "foreign"})()
    with pytest.raises(InputError, match="the job foreign has no plan to print; run it without --dry-run"):
        plan_for(job, None, None, None)
    PLANS.register("foreign", lambda task, experiment, reporter: (task, experiment, reporter))
    assert plan_for(job, 1, 2, 3) == (1, 2, 3)
