"""Callbacks hear of every step; they and the time limit end a job in good order, with the best so far."""

import json
import shutil
import time

import pytest
import torch

import autoprune
from autoprune.errors import InputError, Interrupted, Stopped
from autoprune.models import read_weights
from autoprune.pipeline.reporter import Silent
from autoprune.pipeline.watching import Watched
from autoprune.run.experiment import Experiment
from autoprune.run.settings import seconds_in
from tests.support.tiny_job import network

QUICK = {
    "model": "tests.support.tiny_job:network", "data": "tests.support.tiny_job:loaders",
    "target": "tests.support.tiny_job:Formula", "agent": "random",
    "episodes": 6, "finalists": 3, "train_epochs": 2, "finetune_epochs": 4, "flops": "60%",
}  # fmt: skip


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "seconds"), [("30min", 1800), ("2h", 7200), ("1h30min", 5400), ("1.5 s", 1.5), (" 90S ", 90)]
)
def test_times_with_their_units(text, seconds):
    assert seconds_in(text) == seconds == Experiment.build({"time_limit": text}).seconds_allowed


@pytest.mark.parametrize("text", ["30", "", "min", "-1min", "0s", "1e9h", "5 days", "10 min later"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match="time_limit"):
        Experiment.build({"time_limit": text})


def test_seconds_may_be_a_number_in_python():
    assert Experiment.build({"time_limit": 90}).seconds_allowed == 90


def test_a_callback_hears_of_every_stage_episode_and_epoch(folder):
    heard = []

    def callback(progress, event):
        heard.append((progress.stage, progress.done, event))

    result = autoprune.compress(settings=QUICK, run="runs/r", callbacks=[callback])
    assert result.finished
    rows = [json.loads(line) for line in (folder / "runs/r/episodes.jsonl").read_text().splitlines()]
    told = [event.values for _, _, event in heard if event.kind == "episode"]
    assert [row["accuracy"] for row in told] == [row["accuracy"] for row in rows]
    epochs = [event.values["epoch"] for stage, _, event in heard if event.kind == "epoch" and stage == "train"]
    assert epochs == [1, 2]
    assert [done for stage, done, event in heard if stage == "search" and event.kind == "advanced"][-6:] == [
        *range(1, 7)
    ]
    started = [stage for stage, _, event in heard if event.kind == "stage_started"]
    assert {"train", "search", "finetune", "verify"} <= set(started)
    assert started.count("search") == [e.kind for s, _, e in heard if s == "search"].count("stage_ended")
    assert any("best of 6 episodes" in event.text for _, _, event in heard if event.kind == "message")


def test_a_job_that_a_callback_ends_gives_the_best_so_far_and_goes_on_as_if_it_had_never_stopped(folder):
    whole = autoprune.compress(settings=QUICK, run="runs/whole")

    def stop(progress, event):
        if event.kind == "episode" and event.values["episode"] == 3:
            progress.stop()

    part = autoprune.compress(settings=QUICK, run="runs/r", callbacks=[stop])
    rows = [json.loads(line) for line in (folder / "runs/r/episodes.jsonl").read_text().splitlines()]
    best = max(row["accuracy"] for row in rows)
    assert not part.finished and part.report == {} and len(rows) == 4
    assert dict(part.policy.choices) in [row["choices"] for row in rows if row["accuracy"] == best]
    small = autoprune.load(folder / "runs/r")
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(small(x), part.model(x))
    end = autoprune.compress(settings=QUICK, run="runs/r", resume=True)
    assert end.finished and end.policy.choices == whole.policy.choices
    assert all(torch.equal(a, b) for a, b in zip(end.model.parameters(), whole.model.parameters(), strict=True))


def test_a_job_without_a_folder_that_a_callback_ends_names_where_it_can_go_on():
    def stop(progress, event):
        if event.kind == "episode" and event.values["episode"] == 3:
            progress.stop()

    part = autoprune.compress(settings=QUICK, callbacks=stop)
    assert not part.finished and part.run is not None and (part.run / "policy.json").exists()
    end = autoprune.compress(settings=QUICK, run=part.run, resume=True)
    assert end.finished and len((part.run / "episodes.jsonl").read_text().splitlines()) == 6
    shutil.rmtree(part.run.parent)
    assert autoprune.compress(settings=QUICK).run is None  # a whole job leaves no folder


def test_a_job_that_ends_in_its_fine_tuning_gives_what_was_tuned_longest(folder):
    def stop(progress, event):
        if progress.what.startswith("fine-tuning, seed 0") and event.kind == "stage_started":
            progress.stop("enough")

    part = autoprune.compress(settings=QUICK, run="runs/r", callbacks=[stop])
    tuned = sorted((folder / "runs/r/checkpoint").glob("tuned-*.safetensors"))
    longest = max(int(path.stem.split("-")[2]) for path in tuned)
    stored = [read_weights(path) for path in tuned if f"-{longest}-" in path.name]
    assert not part.finished and any(same(part.model.state_dict(), each) for each in stored)
    assert autoprune.compress(settings=QUICK, run="runs/r", resume=True).finished


def test_progressive_ends_with_the_network_of_its_last_step():
    settings = {name: value for name, value in QUICK.items() if name not in ("agent", "episodes", "finalists")}

    def stop(progress, event):
        if event.kind == "message" and event.text.startswith("step 1:"):
            progress.stop()

    part = autoprune.progressive(settings=settings, step="15%", callbacks=[stop])
    dense = network()
    assert not part.finished and autoprune.params(part.model) < autoprune.params(dense)
    assert part.policy.agent == "progressive"


def test_the_time_limit_ends_a_job_where_it_next_reports(folder, capfd):
    from autoprune.cli.main import run

    words = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words[words.index("--episodes") + 1] = "100000"
    begun = time.monotonic()
    assert run(["compress", *words, "--run", "r", "--time-limit", "4s"]) == 130
    assert time.monotonic() - begun < 60
    assert "the time limit of 4s is over; runs/r keeps" in capfd.readouterr().err
    again = Experiment.read(folder / "runs/r/experiment.yaml", {})
    assert again.time_limit == "4s"


def test_before_there_is_a_network_the_time_limit_is_an_interruption(folder):
    with pytest.raises(Stopped, match="resume=True goes on") as caught:
        autoprune.compress(settings=QUICK, run="runs/r", time_limit=1e-6)
    assert isinstance(caught.value, Interrupted)
    assert autoprune.compress(settings=QUICK, run="runs/r", resume=True).finished  # without a limit


def test_a_callback_that_raises_is_named():
    def broken(progress, event):
        raise KeyError("no such dashboard")

    with pytest.raises(InputError, match=r"the callback tests\.pipeline\.test_watching:.*broken raised KeyError"):
        autoprune.compress(settings=QUICK, callbacks=[broken])


def test_without_limit_and_callbacks_nothing_is_wrapped_and_bars_are_passed_on():
    from autoprune.pipeline.watching import watched

    shown = Silent()
    assert watched(shown, Experiment()) is shown
    reporter = Watched(shown, (), 1e9, "long")
    with reporter.stage("search", "searching", 10, 2) as bar:
        bar.update(3, best="80%")
        bar(4, 12)
    assert (reporter.progress.done, reporter.progress.total) == (4, 12)
