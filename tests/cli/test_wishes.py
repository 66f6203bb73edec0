"""Caps, ties, kinds and granularity by kind, from the command line to the finished run."""

import json

import pytest

import autoprune as package
from autoprune.run.experiment import Experiment
from tests.support.command_line import FAST, TINY, tree


def test_a_job_whose_decisions_are_tied_and_capped(autoprune, folder):
    wishes = ["--tie", "[ci]*n*[2r]", "--cap", "conv1=0.5", "--granularity", "channels=4", "--kinds", "channels,ffn"]
    outcome = autoprune("compress", *TINY, *FAST, *wishes, "--latency", "70%", "--run", "job")
    assert outcome.code == 0, outcome.err
    run = folder / "runs" / "job"
    policy, report = (json.loads((run / f"{name}.json").read_text()) for name in ("policy", "report"))
    assert policy["choices"]["conv2"] == policy["choices"]["inner"]
    assert policy["choices"]["conv1"] >= 8
    assert all(units % 4 == 0 for units in policy["choices"].values())
    assert report["decisions"] == {"conv1": 16, "conv2": 24, "inner": 24}
    assert report["budget"]["met"]
    for line in (run / "episodes.jsonl").read_text().splitlines():
        choices = json.loads(line)["choices"]
        assert choices.keys() == {"conv1", "conv2"}
        assert choices["conv1"] >= 8
    small = package.load(run)
    assert small.conv2.out_channels == small.inner.out_channels == policy["choices"]["conv2"]
    assert report["finetuned"]["params"] == sum(p.numel() for p in small.parameters())
    table = package.LatencyTable.load(run / "latency_table.json")
    assert table.predict(policy["choices"]) == pytest.approx(report["finetuned"]["latency_ms_predicted"])
    assert autoprune("compress", "--run", "job", "--resume").code == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--tie", "conv1"], "--tie conv1 means conv1; a tie needs two"),
        (["--cap", "conv1"], "cap: --cap conv1: write PATTERN=SHARE"),
        (["--cap", "nothing=0.5"], "--cap nothing: no decision"),
        (["--kinds", "channels,chanels"], "unknown kind of decision 'chanels'"),
        (["--granularity", "heds=2"], "'heds' is no kind of decisions"),
        (["--granularity", "0"], "granularity"),
        (["--kinds", "heads"], "nothing in tests.support.tiny_job:network can be pruned"),
    ],
)
def test_wishes_that_cannot_be_are_refused(autoprune, folder, wrong, says):
    before = tree(folder)
    outcome = autoprune("compress", *TINY, *FAST, "--flops", "50%", *wrong)
    assert (outcome.code, outcome.lines) == (2, 1), outcome.err
    assert says in outcome.error
    assert tree(folder) == before


def test_settings_are_written_and_read_back_as_they_are():
    wishes = {"kinds": "channels,heads", "cap": ["a=0.5"], "tie": "x*", "granularity": "heads=2,channels=8"}
    experiment = Experiment.build(wishes)
    assert experiment.kinds == ("channels", "heads")
    limits = experiment.constraints
    assert (limits.granularity, limits.granularities) == (None, {"heads": 2, "channels": 8})
    assert Experiment.build(experiment.model_dump(mode="json")) == experiment
    assert Experiment.build({"granularity": "8"}) == Experiment.build({"granularity": 8})
