"""Pages about a run: which programs, on which address, and one line where there are none."""

import importlib.util
import json
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from autoprune.errors import InputError
from autoprune.reports import dashboards
from autoprune.reports.dashboards import dashboards_of, served
from autoprune.run.experiment import Experiment


@pytest.fixture
def run(tmp_path):
    def made(*, storage=None, logs=True, journal=False):
        settings = Experiment(storage=storage).model_dump(mode="json")
        (tmp_path / "experiment.yaml").write_text(yaml.safe_dump({"settings": settings}))
        if logs:
            (tmp_path / "tensorboard").mkdir()
        if journal:
            (tmp_path / "optuna-journal.log").touch()
        return tmp_path

    return made


def installed(monkeypatch, *names):
    monkeypatch.setattr(dashboards, "find_spec", lambda name: object() if name in names else None)


def test_both_pages_are_of_the_loopback_address_and_of_different_ports(run, monkeypatch):
    installed(monkeypatch, "tensorboard", "optuna_dashboard")
    pages, missing = dashboards_of(run(storage="postgresql+psycopg2://me:secret@host/db"), 20_000)
    assert [page.name for page in pages] == ["tensorboard", "optuna-dashboard"] and not missing
    assert all(page.url.startswith("http://127.0.0.1:") for page in pages)
    assert len({page.url for page in pages}) == 2
    for page in pages:
        assert page.command[page.command.index("--host") + 1] == "127.0.0.1"
        assert "secret" not in " ".join(page.command)


def test_what_is_shown_is_the_storage_or_the_journal_of_the_agent(run, monkeypatch):
    installed(monkeypatch, "optuna_dashboard")
    folder = run(journal=True, logs=False)
    assert dashboards_of(folder, 20_000)[0][0].what == str(folder / "optuna-journal.log")
    folder = run(storage="journal:/there/log", logs=False)
    assert dashboards_of(folder, 20_000)[0][0].what == "/there/log"


def test_what_is_missing_is_one_line(run, monkeypatch, tmp_path):
    installed(monkeypatch, "tensorboard")
    folder = run(storage="journal:log")
    pages, missing = dashboards_of(folder, 20_000)
    assert [page.name for page in pages] == ["tensorboard"]
    assert missing == ["optuna-dashboard is not installed; install it with: pip install 'autoprune[distributed]'"]
    (folder / "tensorboard").rmdir()
    with pytest.raises(InputError, match=r"^optuna-dashboard is not installed; .*distributed"):
        dashboards_of(folder, 20_000)
    with pytest.raises(InputError, match="neither TensorBoard's logs nor a study"):
        dashboards_of(run(logs=False), 20_000)
    with pytest.raises(InputError, match="there is no run at"):
        dashboards_of(tmp_path / "nothing", 20_000)


def answer(url, seconds=60.0):
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                return page.status, page.read()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.mark.distributed
@pytest.mark.skipif(importlib.util.find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed")
def test_optuna_dashboard_serves_a_study_with_its_trials(run, tmp_path):
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "log")))
    study = optuna.create_study(storage=storage, study_name="s", directions=["maximize", "minimize"])
    for width in (3, 5):
        study.add_trial(
            optuna.trial.create_trial(
                params={"conv1": width},
                distributions={"conv1": optuna.distributions.IntDistribution(1, 8)},
                values=[width / 8, 2.0 * width],
                constraints={"flops<=40%": width - 4.0},
            )
        )
    folder = run(storage=f"journal:{Path(tmp_path / 'log')}", logs=False)
    pages, _ = dashboards_of(folder, 20_100)
    with served(pages) as processes:
        status, _ = answer(pages[0].url + "dashboard/")
        _, content = answer(pages[0].url + "api/studies")
        assert status == 200 and [each["study_name"] for each in json.loads(content)["study_summaries"]] == ["s"]
        number = json.loads(content)["study_summaries"][0]["study_id"]
        trials = json.loads(answer(f"{pages[0].url}api/studies/{number}?after=0")[1])["trials"]
        assert [trial["params"][0]["param_external_value"] for trial in trials] == ["3", "5"]
    assert all(process.returncode is not None for process in processes)
