"""The commands one after the other, as a user goes: what each leaves is what the next one takes."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
import yaml

from autoprune.cli import commands
from autoprune.models import read_weights
from tests.support.command_line import FAST, TINY, tree

COMMANDS = [
    "compress",
    "search",
    "progressive",
    "dynamic",
    "quantize",
    "sensitivity",
    "profile",
    "finetune",
    "export",
    "apply",
    "inspect",
    "targets",
    "report",
    "dashboard",
    "compare",
    "bench",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_and_costs_no_heavy_import(autoprune, command):
    start = time.process_time()
    outcome = autoprune(command, "--help")
    assert time.process_time() - start < 1
    assert outcome.code == 0
    assert f"Example: autoprune {command}" in " ".join(outcome.out.split()[-40:])


def test_help_answers_in_a_second_of_processor_time_and_shows_defaults():
    code = (
        "import sys, time; from autoprune.cli.main import run; code = run(['compress', '--help'])\n"
        "heavy = [m for m in ('torch', 'sklearn', 'optuna', 'onnx', 'matplotlib') if m in sys.modules]\n"
        "print(heavy, time.process_time(), file=sys.stderr)"
    )
    wide = {**os.environ, "COLUMNS": "200", "TERMINAL_WIDTH": "200"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=wide)
    heavy, seconds = done.stderr.rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 1
    for default in ("[default: resnet20]", "[default: onnxruntime]", "[default: 300]", "[default: digits]"):
        assert default in " ".join(done.stdout.split())


def test_inspect_tells_programs_what_it_tells_people(autoprune):
    rows = json.loads(
        autoprune("inspect", "--model", "tests.support.tiny_job:network", "--shape", "1,8,8", "--json").out
    )
    assert [(d["name"], d["width"]) for d in rows["decisions"]] == [("conv1", 16), ("conv2", 24), ("inner", 24)]
    shown = autoprune(
        "inspect", "--model", "tests.support.tiny_job:network", "--data", "tests.support.tiny_job:loaders"
    ).out
    assert "conv1" in shown
    assert "fc" in shown


def test_profile_writes_a_table_that_prices_policies(autoprune, folder):
    from autoprune import LatencyTable

    outcome = autoprune("profile", *TINY, "--out", "table.json")
    assert outcome.code == 0, outcome.err
    table = LatencyTable.load(folder / "table.json")
    assert table.predict({}) > table.predict({"conv1": 4}) > 0


def test_search_finetune_export_apply_report_compare(autoprune, folder):
    assert autoprune("search", *TINY, *FAST, "--latency", "70%", "--run", "job").code == 0
    run = folder / "runs" / "job"
    assert (run / "policy.json").exists()
    assert not (run / "finetuned.safetensors").exists()
    episodes = (run / "episodes.jsonl").read_bytes()

    tuned = autoprune("finetune", "runs/job")
    assert tuned.code == 0, tuned.err
    assert (run / "episodes.jsonl").read_bytes() == episodes
    assert json.loads((run / "report.json").read_text())["budget"]["met"] is True
    again = autoprune("finetune", "runs/job")
    assert (again.code, again.out) == (0, tuned.out)

    for form, name in [("onnx", "m.onnx"), ("safetensors", "m.safetensors"), ("policy", "p.json")]:
        outcome = autoprune("export", "runs/job", "--format", form, "--out", name)
        assert outcome.code == 0, outcome.err
        assert f"{form}: {name}" in outcome.out
    assert (folder / "p.json").read_bytes() == (run / "policy.json").read_bytes()
    assert same(folder / "m.safetensors", run / "finetuned.safetensors")

    applied = autoprune("apply", "p.json", "--weights", run / "dense.safetensors", "--out", "raw.safetensors")
    assert applied.code == 0, applied.err
    assert same(folder / "raw.safetensors", run / "pruned.safetensors")

    assert "page: runs/job/report.html" in autoprune("report", "runs/job").out
    assert "job" in autoprune("compare", "runs/job").out


def same(one, other):
    ours, theirs = read_weights(one), read_weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_several_agents_share_dense_weights_and_table_and_are_resumed_as_a_whole(autoprune, folder, monkeypatch):
    from autoprune.hardware.tables import profile as profiling

    command = ["search", *TINY, *FAST, "--latency", "60%,80%", "--agent", "random,uniform", "--run", "both"]
    assert autoprune(*command).code == 0
    names = ["random-60", "random-80", "uniform-60", "uniform-80"]
    runs = [folder / "runs" / "both" / name for name in names]
    assert sorted(p.name for p in (folder / "runs" / "both").iterdir()) == sorted([*names, "sweep.yaml"])
    first = runs[0]
    for other in runs[1:]:
        assert (other / "dense.safetensors").read_bytes() == (first / "dense.safetensors").read_bytes()
        table = "checkpoint/profile-2.json"
        assert (other / table).read_bytes() == (first / table).read_bytes()

    refused = autoprune(*command)
    assert (refused.code, refused.lines) == (2, 1)
    assert "runs/both/random-60 exists" in refused.error
    monkeypatch.setattr(profiling._Builder, "time_networks", lambda *_: pytest.fail("timed again"))
    before = [(run / "episodes.jsonl").read_bytes() for run in runs]
    resumed = autoprune("search", "--run", "both", "--resume")  # all settings come from the sweep
    assert resumed.code == 0, resumed.err
    assert [(run / "episodes.jsonl").read_bytes() for run in runs] == before
    alone = autoprune("search", *TINY, *FAST, "--latency", "60%", "--run", "both")
    assert "exists and is no run" in alone.error


def test_a_sweep_that_is_refused_leaves_no_folder(autoprune, folder):
    assert autoprune("search", *TINY, *FAST, "--flops", "0.1%,50%", "--run", "both").code == 3
    assert list(folder.iterdir()) == []


def test_settings_left_out_on_resume_come_from_the_run(autoprune, done):
    outcome = autoprune("compress", "--run", "done", "--resume")
    assert outcome.code == 0, outcome.err
    assert "nothing is left to do" in outcome.err


def test_a_resumed_run_names_what_differs_in_the_environment(autoprune, done):
    path = done / "experiment.yaml"
    content = yaml.safe_load(path.read_text())
    content["environment"] |= {"torch": "1.0", "train_threads": 64, "precision": "posit8", "device cpu": "abacus"}
    path.write_text(yaml.safe_dump(content))
    (done / "report.json").unlink()
    said = " ".join(autoprune("compress", "--run", "done", "--resume").err.split())
    for name, was in [("torch", "1.0"), ("train_threads", "64"), ("precision", "posit8"), ("device cpu", "abacus")]:
        assert f"{name} was {was} when the run started, now " in said


def test_settings_that_a_sweep_refuses_are_not_written_down_as_its_own(autoprune, folder):
    command = ["search", *TINY, *FAST, "--flops", "50%", "--agent", "random,uniform", "--run", "both"]
    assert autoprune(*command).code == 0
    before = (folder / "runs/both/sweep.yaml").read_bytes()
    refused = autoprune("search", "--run", "both", "--resume", "--episodes", "9")
    assert (refused.code, refused.lines) == (2, 1)
    assert "both/random was started with episodes = 6, not 9; leave it out" in refused.error
    assert (folder / "runs/both/sweep.yaml").read_bytes() == before
    for wrong in (["--agent", "random,ddgp"], ["--flops", "40%"]):
        assert autoprune("search", "--run", "both", "--resume", *wrong).code == 2
        assert (folder / "runs/both/sweep.yaml").read_bytes() == before
    assert autoprune(*command, "--agent", "random,ddgp", "--overwrite").code == 2
    assert (folder / "runs/both/sweep.yaml").read_bytes() == before
    assert autoprune("search", "--run", "both", "--resume").code == 0
    more = autoprune("search", "--run", "both", "--resume", "--agent", "random,uniform,optuna")
    assert more.code == 0, more.err
    assert (folder / "runs/both/optuna/policy.json").exists()


@pytest.mark.parametrize("command", ["compress", "search"])
@pytest.mark.parametrize("wrong", [["--flops", "50%", "--agent", "random,ddgp"], ["--flops", "50%,3furlong"]])
def test_a_sweep_is_refused_as_a_whole_before_its_first_run(autoprune, folder, command, wrong):
    outcome = autoprune(command, *TINY, *FAST, *wrong, "--run", "both")
    assert (outcome.code, outcome.lines) == (2, 1)
    assert list(folder.iterdir()) == []


def test_a_run_with_a_latency_table_of_another_device_does_not_go_on(autoprune, folder):
    command = ["search", *TINY, *FAST, "--latency", "70%", "--run", "moved"]
    assert autoprune(*command).code == 0
    path = next((folder / "runs/moved/checkpoint").glob("profile-*.json"))
    path.write_text(path.read_text().replace('"threads": "1"', '"threads": "64"'))
    outcome = autoprune(*command, "--resume")
    assert (outcome.code, outcome.lines) == (2, 1)
    assert "runs/moved cannot go on here" in outcome.error and "threads = '64', here it is '1'" in outcome.error
    assert path.exists() and (folder / "runs/moved/policy.json").exists()


def test_brackets_of_a_message_are_shown(autoprune, folder, monkeypatch):
    monkeypatch.setattr("autoprune.hardware.targets.openvino.cpu.OpenVinoTarget.available",
                        lambda self: "not installed; pip install 'autoprune[openvino]'")  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    assert "pip install 'autoprune[openvino]'" in autoprune("targets").out
    for command, default in (("profile", "[default: onnxruntime]"), ("apply", "[default: the policy's]")):
        assert default in " ".join(autoprune(command, "--help").out.replace("│", " ").split())


def test_a_sweep_of_other_settings_does_not_make_a_folder_forget_its_own(autoprune, folder):
    command = ["search", *TINY, *FAST, "--run", "both"]
    assert autoprune(*command, "--flops", "50%", "--agent", "random,uniform").code == 0
    before = tree(folder / "runs")
    other = autoprune(*command, "--flops", "5%", "--agent", "optuna,ddpg")
    assert (other.code, other.lines) == (2, 1) and "holds runs of other settings" in other.error
    other = autoprune(*command, "--resume", "--flops", "50%", "--agent", "optuna,uniform")
    assert (other.code, other.lines) == (2, 1) and "holds random, too" in other.error
    other = autoprune(*command, "--resume", "--params", "50%", "--agent", "random,uniform")
    assert (other.code, other.lines) == (2, 1)
    assert tree(folder / "runs") == before


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_program_names_every_command_as_the_command_itself_does(name):
    own = commands.load_command(name).help.split("\n\n")[0]
    assert " ".join(own.split()) == commands.COMMANDS[name].summary


def test_the_programs_help_imports_no_command():
    code = (
        "import sys; from autoprune.cli.main import run; run(['--help']);"
        "sys.exit(str([m for m in ('pydantic', 'numpy', 'autoprune.cli.options') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
