"""A run's folder: what is finished stays, what is torn goes, nobody else gets in."""

import json
import subprocess
import sys

import pytest

from autoprune.errors import InputError, RunError
from autoprune.run.directory import RunDir, read_settings
from autoprune.run.experiment import Experiment


@pytest.fixture
def settings():
    return Experiment(seed=3, latency="40%")


def test_settings_come_back_as_they_were(tmp_path, settings):
    RunDir(tmp_path / "r", settings).close()
    stored, recorded = read_settings(tmp_path / "r")
    assert stored == settings
    assert "torch" in recorded


def test_an_existing_run_is_refused_without_resume_or_overwrite(tmp_path, settings):
    RunDir(tmp_path / "r", settings).close()
    with pytest.raises(RunError, match="--resume"):
        RunDir(tmp_path / "r", settings)


def test_a_folder_that_is_no_run_is_never_touched(tmp_path, settings):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.tex").write_text("years of work")
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(RunError, match="is no run"):
            RunDir(tmp_path / "r", settings, **flags)
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["thesis.tex"]


def test_resume_of_a_missing_run_starts_it_and_other_settings_are_refused(tmp_path, settings):
    RunDir(tmp_path / "r", settings, resume=True).close()
    with pytest.raises(RunError, match="seed = 3, not 4"):
        RunDir(tmp_path / "r", settings.replace(seed=4), resume=True)


def test_overwrite_starts_anew(tmp_path, settings):
    with RunDir(tmp_path / "r", settings) as run:
        run.append_episode({"episode": 0})
        run.remember("limit", 1.5)
    with RunDir(tmp_path / "r", settings.replace(seed=9), overwrite=True) as run:
        assert run.episodes() == []
        assert run.recall("limit") is None
        assert run.experiment.seed == 9


def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(tmp_path, settings):
    code = (
        "import sys, pathlib\n"
        "from autoprune.run.directory import RunDir\n"
        "from autoprune.run.experiment import Experiment\n"
        "try: RunDir(pathlib.Path(sys.argv[1]), Experiment(seed=3, latency='40%'), resume=True)\n"
        "except Exception as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "r")]
    with RunDir(tmp_path / "r", settings):
        refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "in use by another process" in refused
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_a_torn_last_line_is_dropped_and_damage_elsewhere_is_named(tmp_path, settings):
    with RunDir(tmp_path / "r", settings) as run:
        for episode in range(3):
            run.append_episode({"episode": episode})
        path = run.file("episodes.jsonl")
        whole = path.read_bytes()
        for cut in range(1, len(whole) // 3):
            path.write_bytes(whole[:-cut])
            assert [row["episode"] for row in run.episodes()] == [0, 1]
            assert path.read_bytes() == whole[: len(whole) * 2 // 3]
        path.write_bytes(b'{"epis\n' + whole)
        with pytest.raises(InputError, match="line 1 is damaged"):
            run.episodes()


def test_what_was_decided_once_is_read_back(tmp_path, settings):
    with RunDir(tmp_path / "r", settings) as run:
        assert run.once("limit", lambda: 1.5) == 1.5
    with RunDir(tmp_path / "r", settings, resume=True) as run:
        assert run.once("limit", lambda: 99.0) == 1.5
    assert json.loads((tmp_path / "r" / "checkpoint" / "journal.json").read_text()) == {"limit": 1.5}


def test_a_run_refused_at_the_start_leaves_no_folder(tmp_path, settings):
    run = RunDir(tmp_path / "runs" / "r", settings)
    run.discard()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").mkdir()
    RunDir(tmp_path / "old", settings).discard()
    assert (tmp_path / "old").exists()


def test_experiments_name_every_fault_at_once_and_the_nearest_key():
    with pytest.raises(InputError) as caught:
        Experiment.build({"epochs_finetune": 3, "modle": "resnet20", "episodes": 0})
    message = str(caught.value)
    assert "did you mean 'model'" in message
    assert "episodes" in message
    assert "\n" not in message


def test_experiment_files_are_overridden_by_options(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("model: plain20\nlatency: 40%\nfinetune-epochs: 3\n")
    experiment = Experiment.read(path, {"flops": "30%"})
    assert (experiment.model, experiment.requested_budget, experiment.finetune_epochs) == (
        "plain20",
        ("flops", "30%"),
        3,
    )
    path.write_text("- model\n")
    with pytest.raises(InputError, match="should hold settings"):
        Experiment.read(path, {})


@pytest.mark.parametrize(("episodes", "warmup", "expected"), [(300, None, 75), (1000, None, 100), (40, 5, 5)])
def test_warmup_defaults_to_a_quarter_at_most_a_hundred(episodes, warmup, expected):
    assert Experiment(episodes=episodes, warmup=warmup).warmup_episodes == expected


def test_run_names(tmp_path):
    assert str(Experiment(run="a").run_dir) == "runs/a"
    assert str(Experiment(run="x/a").run_dir) == "x/a"
    assert str(Experiment(model="nets:small").run_dir) == "runs/nets.small-digits-latency50_-ddpg"
