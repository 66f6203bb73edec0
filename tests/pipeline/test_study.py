"""A search that workers of other processes join: the same search, and a study that people can look at."""

import json
import subprocess

import optuna
import pytest
import torch
import yaml

import autoprune
from autoprune.errors import InputError, RunError
from autoprune.models import save_weights
from autoprune.pipeline.search.shared.contract import joined_settings, refuse_other
from autoprune.run.experiment import Experiment
from autoprune.storage.board import Board
from autoprune.storage.registry import open_store
from autoprune.storage.urls import StorageUrl
from autoprune.techniques.homes import cluster
from tests.support.processes import ONE_THREAD, PROGRAM
from tests.support.study_jobs import SETTINGS, options
from tests.support.tiny_job import network

SLOW = {"evaluate": "tests.support.study_jobs:slow", "score": "accuracy", "episodes": 48}


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A search alone, and one with a worker that was there before it; their folder, and what the worker said."""
    folder = tmp_path_factory.mktemp("study")
    storage = f"journal:{folder / 'log'}"
    waiting = [*PROGRAM, "search", "--worker", "--storage", storage, "--study", "s"]
    code = {name: SETTINGS[name] for name in ("model", "data")} | {"evaluate": SLOW["evaluate"]}
    words = [word for name, value in code.items() for word in (f"--{name}", value)]
    mark = str(folder / "joined")
    marking = {**ONE_THREAD, "AUTOPRUNE_TEST_MARK": mark}
    worker = subprocess.Popen([*waiting, *words], env=marking, stderr=subprocess.PIPE, text=True)
    search(folder / "alone", **SLOW)
    assert worker.stderr is not None
    said = ""
    while "waiting for it" not in said and (line := worker.stderr.readline()):
        said += line
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AUTOPRUNE_TEST_WAIT", mark)
        patched.setenv("AUTOPRUNE_TEST_SLOWNESS", "0.06")
        search(folder / "shared", **SLOW, storage=storage, study="s")
    with worker:
        said += worker.stderr.read()
    return folder, storage, worker.returncode, said


def search(folder, **settings):
    flags = {name: settings.pop(name, False) for name in ("resume", "overwrite")}
    quick = {"finalists": 1, "finetune_epochs": 0}
    return autoprune.compress(settings={**SETTINGS, **quick, **settings}, run=folder, **flags)


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in ("seconds", "cached")} for row in rows]


def board_of(storage, study):
    board = Board(open_store(storage, study))
    board.refresh()
    return board


def test_a_worker_scores_its_part_and_changes_nothing(studied):
    folder, storage, code, said = studied
    assert (code, rows_of(folder / "shared")) == (0, rows_of(folder / "alone"))
    assert "waiting for it" in said and "its search is over" in said and "Traceback" not in said
    taken = [fact.content["worker"] for fact in open_store(storage, "s").read() if fact.kind == "result"]
    assert len(set(taken)) == 2, said  # the coordinator and the worker
    policies = [json.loads((folder / name / "policy.json").read_text()) for name in ("alone", "shared")]
    assert policies[0] == policies[1]


def test_optuna_opens_the_storage_and_has_the_executed_widths_the_budget_and_the_front(studied):
    folder, storage, _, _ = studied
    path = StorageUrl.parse(storage).place
    study = optuna.load_study(
        study_name="s", storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
    )
    rows = rows_of(folder / "shared")
    assert [trial.params for trial in study.trials] == [row["choices"] for row in rows]
    assert [trial.values for trial in study.trials] == [[row["accuracy"], row["predicted_cost"]] for row in rows]
    assert all(max(trial.constraints.values()) <= 0 for trial in study.trials)
    assert study.best_trials and study.user_attrs["settings"]["flops"] == "40%"


def test_a_search_that_goes_on_writes_each_trial_once(studied):
    folder, storage, _, _ = studied
    lines = (folder / "shared" / "episodes.jsonl").read_text().splitlines(keepends=True)
    (folder / "shared" / "episodes.jsonl").write_text("".join(lines[:21]))
    for name in ("report.json", "policy.json", "checkpoint/agent.safetensors"):
        (folder / "shared" / name).unlink()
    search(folder / "shared", **SLOW, storage=storage, study="s", resume=True)
    assert rows_of(folder / "shared") == rows_of(folder / "alone")
    path = StorageUrl.parse(storage).place
    study = optuna.load_study(
        study_name="s", storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
    )
    assert sorted(trial.user_attrs["episode"] for trial in study.trials) == list(range(len(lines)))


def test_a_study_of_another_run_is_refused_and_its_successor_in_the_same_folder_begins_anew(tmp_path):
    storage, quick = f"journal:{tmp_path / 'log'}", {"agent": "random", "episodes": 8}
    search(tmp_path / "one", **quick, storage=storage, study="s")
    with pytest.raises(RunError, match=r"^the study s in journal:.* is that of the run .*one on .*; choose another"):
        search(tmp_path / "two", **quick, storage=storage, study="s")
    assert not (tmp_path / "two").exists()  # refused before anything was done
    _begun_with(tmp_path / "one", torch="1.0")
    with pytest.raises(RunError, match=r"^the study s was begun with torch 1\.0, and this process has .* without --st"):
        search(tmp_path / "one", **quick, storage=storage, study="s", resume=True)
    search(tmp_path / "one", **quick, seed=1, storage=storage, study="s", overwrite=True)
    backend = optuna.storages.journal.JournalFileBackend(StorageUrl.parse(storage).place)
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert [trial.params for trial in study.trials] == [row["choices"] for row in rows_of(tmp_path / "one")]


def _begun_with(folder, **versions):
    """The run as one that was cut off in its first round, under other versions."""
    path = folder / "checkpoint" / "journal.json"
    content = json.loads(path.read_text())
    content["fingerprints"] |= versions
    path.write_text(json.dumps(content))
    for name in ("report.json", "policy.json", "episodes.jsonl"):
        (folder / name).unlink()


def test_a_worker_with_another_network_or_other_data_is_refused_with_what_differs(studied, tmp_path):
    _, storage, _, _ = studied
    board = board_of(storage, "s")
    contract = {**board.contract, "id": "anew"}
    with open_store(storage, "a copy that has not ended") as store:
        store.append([("study", contract)])
    torch.manual_seed(5)
    save_weights(network().state_dict(), tmp_path / "other.safetensors")
    joined = {**SETTINGS, **SLOW, "storage": storage, "study": "a copy that has not ended"}
    with pytest.raises(RunError, match=r"^this worker's weights is \w+, the study .* has \w+"):
        autoprune.work(settings=joined, weights=tmp_path / "other.safetensors")
    with pytest.raises(RunError, match=r"has flops = 40%, not 30%; leave it out"):
        autoprune.work(settings=joined, budget="flops<=30%")
    with pytest.raises(RunError, match=r"has episodes = 48, not 9;"):
        autoprune.work(settings=joined, episodes=9)


def test_fingerprints_that_differ_are_named():
    theirs = {"torch": "2.13.0", "splits": "a", "space": "b"}
    refuse_other("s", theirs, {"torch": "2.13.0"})
    for name in theirs:
        with pytest.raises(RunError, match=rf"^this worker's {name} is other, the study s has "):
            refuse_other("s", theirs, {**theirs, name: "other"})


def test_a_worker_takes_settings_but_no_code_from_the_study(studied):
    contract = board_of(studied[1], "s").contract
    given = {"model": SETTINGS["model"], "data": SETTINGS["data"], "storage": "journal:x", "workers": 2}
    with pytest.raises(RunError, match=r"which is code; .* add --evaluate tests.support.study_jobs:slow$"):
        joined_settings(Experiment(**given), contract)
    joined = joined_settings(Experiment(**given, evaluate=SLOW["evaluate"]), contract)
    assert (joined.episodes, joined.flops, joined.workers, joined.batch) == (48, "40%", 2, 8)


def test_passwords_are_in_no_file_and_no_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    secret = "postgresql+psycopg2://me:s3cret@127.0.0.1:1/db"
    with pytest.raises(InputError) as caught:
        autoprune.compress(settings={**SETTINGS, "episodes": 8, "storage": secret}, run="r")
    assert "s3cret" not in str(caught.value) and not (tmp_path / "r").exists()
    with pytest.raises(InputError) as caught:
        Experiment.build({"storage": secret.replace("postgresql", "mysql")})
    assert "s3cret" not in str(caught.value)
    experiment = Experiment(storage=secret)
    assert "s3cret" not in yaml.safe_dump(experiment.model_dump(mode="json"))
    assert experiment.replace(seed=3).storage == secret  # which this process still needs


def test_settings_that_do_not_go_together_are_refused():
    for settings, why in (
        ({"study": "s"}, "a study lies in a storage"),
        ({"storage": "journal:f", "accuracy_drop": 1.0}, "a study is one search"),
        ({"storage": "sqlite:f"}, "is no storage"),
    ):
        with pytest.raises(InputError, match=why):
            Experiment.build(settings)
    with pytest.raises(InputError, match="a worker joins a study in a storage"):
        autoprune.work(settings=SETTINGS)


def test_the_command_line_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    from autoprune.cli.main import run

    monkeypatch.chdir(tmp_path)
    assert run(["search", "--worker", *options()]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--storage" in said and not list(tmp_path.iterdir())
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert run(["search", *options(), "--ray"]) == 2  # without an address, a cluster of this machine's own
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "ray is not installed" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ddpg", "optuna", "exact", "netadapt", "importance", "random"])
def test_every_agent_searches_alike_with_and_without_a_storage(tmp_path, agent):
    quick = {"agent": agent, "episodes": 20}
    search(tmp_path / "alone", **quick)
    search(tmp_path / "shared", **quick, storage=f"journal:{tmp_path / 'log'}")
    assert rows_of(tmp_path / "shared") == rows_of(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [2, 4])
def test_several_workers_change_nothing_from_the_first_candidate_to_the_finished_network(
    tmp_path, monkeypatch, count, request
):
    storage = f"journal:{tmp_path / 'log'}"
    words = [word for name in ("model", "data") for word in (f"--{name}", SETTINGS[name])]
    joining = [*PROGRAM, "search", "--worker", "--storage", storage, "--study", "s", *words]
    tuned = {**SLOW, "finalists": 2, "finetune_epochs": 1}
    search(tmp_path / "alone", **tuned)
    workers = [
        subprocess.Popen([*joining, "--evaluate", SLOW["evaluate"]], env=ONE_THREAD, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for worker in workers:
        request.addfinalizer(worker.kill)
    for worker in workers:
        assert worker.stderr is not None
        while "waiting for it" not in (line := worker.stderr.readline()):
            assert line
    monkeypatch.setenv("AUTOPRUNE_TEST_SLOWNESS", "0.3")
    search(tmp_path / "shared", **tuned, storage=storage, study="s")
    said = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * count, said
    assert rows_of(tmp_path / "shared") == rows_of(tmp_path / "alone")
    for name in ("policy.json", "finetuned.safetensors"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    taken = [fact.content["worker"] for fact in open_store(storage, "s").read() if fact.kind == "result"]
    assert len(set(taken)) >= 2


@pytest.mark.distributed
def test_a_search_on_postgresql_is_that_of_one_process_and_optuna_opens_it(tmp_path):
    from tests.support.postgres import cluster, why_not

    if (reason := why_not()) is not None:
        pytest.skip(reason)
    quick = {"agent": "evolution", "episodes": 16}
    search(tmp_path / "alone", **quick)
    with cluster() as server:
        search(tmp_path / "shared", **quick, storage=server.url, study="s")
        study = optuna.load_study(study_name="s", storage=server.url)
        assert [trial.params for trial in study.trials] == [row["choices"] for row in rows_of(tmp_path / "alone")]
        assert autoprune.work(settings={**SETTINGS, **quick, "storage": server.url, "study": "s"}) == 0  # it is over
    assert rows_of(tmp_path / "shared") == rows_of(tmp_path / "alone")
