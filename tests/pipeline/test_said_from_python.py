"""Whatever the command line can say can be said from Python, once, with the same names and the same outcome."""

import json

import pytest
import torch
import yaml

import autoprune
from autoprune.errors import InputError
from autoprune.pipeline.calls import JobKeywords
from autoprune.run.experiment import Experiment
from autoprune.run.keywords import SettingKeywords

QUICK = {
    "model": "tests.support.tiny_job:network", "data": "tests.support.tiny_job:loaders",
    "target": "tests.support.tiny_job:Formula", "agent": "random",
    "episodes": 6, "finalists": 2, "train_epochs": 2, "finetune_epochs": 2, "flops": "50%",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def policy_of(folder, run):
    return json.loads((folder / "runs" / run / "policy.json").read_text())


def test_every_setting_is_a_keyword_but_those_that_have_a_parameter():
    assert set(Experiment.model_fields) - {"model", "run"} <= set(JobKeywords.__annotations__)
    assert set(SettingKeywords.__annotations__) == set(Experiment.model_fields) - {
        "model",
        "run",
        "budget",
        "loss",
        "evaluate",
        "finetune",
    }


def test_names_settings_files_and_keywords_lead_to_the_same_run(folder):
    from autoprune.cli.main import run

    (folder / "job.yaml").write_text(yaml.safe_dump({**QUICK, "latency": "90%", "flops": None}))
    options = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert run(["compress", *options, "--run", "shell"]) == 0
    autoprune.compress(settings={**QUICK, "run": "mapping"})
    autoprune.compress(settings=Experiment(**QUICK, run="value"))
    autoprune.compress(settings="job.yaml", budget="flops<=50%", run="runs/file")  # another budget replaces the file's
    autoprune.compress(QUICK["model"], run="runs/words", **{k: v for k, v in QUICK.items() if k != "model"})
    first = policy_of(folder, "shell")
    assert all(policy_of(folder, each) == first for each in ("mapping", "value", "file", "words"))
    settings = [yaml.safe_load((folder / "runs" / each / "experiment.yaml").read_text())["settings"] for each in
                ("shell", "mapping", "value", "file", "words")]  # fmt: skip
    assert all({**each, "run": None} == {**settings[0], "run": None} for each in settings)


def test_a_network_goes_with_named_data_and_any_setting(folder):
    from tests.support.tiny_job import network

    torch.manual_seed(0)
    result = autoprune.compress(
        network(), data="tests.support.tiny_job:loaders", target="tests.support.tiny_job:Formula", agent="random",
        episodes=4, finalists=1,
        flops="60%", finetune_epochs=1, finetune_seeds=2, criterion="l2", train_threads=1, run="r",
    )  # fmt: skip
    stored = yaml.safe_load((folder / "r" / "experiment.yaml").read_text())["settings"]
    assert (stored["finetune_seeds"], stored["criterion"], stored["train_threads"]) == (2, "l2", 1)
    assert len(result.report["finetuned"]["accuracy_seeds"]) == 2 and result.policy.criterion == "l2"


def test_wrong_settings_are_named_at_once_with_the_nearest(trained, loaders):
    with pytest.raises(InputError, match=r"episodes: .*there is no setting 'finetune_epoch'; did you mean 'finetune_e"):
        autoprune.compress(trained, **loaders, episodes=0, finetune_epoch=3)
    with pytest.raises(InputError, match="train, search and test go together"):
        autoprune.compress(trained, train=loaders["train"])
    with pytest.raises(InputError, match="loaders go with a network"):
        autoprune.compress("resnet20", **loaders, target="torch")


def test_several_agents_and_budgets_are_runs_of_one_sweep(folder):
    quick = {name: value for name, value in QUICK.items() if name not in ("agent", "flops", "latency")}
    results = autoprune.sweep(settings=quick, agent="uniform,random", flops="60%,80%", run="runs/both")
    assert sorted(results) == ["random-60", "random-80", "uniform-60", "uniform-80"]
    assert all(result.report["budget"]["met"] for result in results.values())
    assert results["random-60"].report["budget"]["requested"] == "60%"
    dense = [(folder / "runs/both" / name / "dense.safetensors").read_bytes() for name in results]
    assert all(each == dense[0] for each in dense)  # trained once
    lists = {"agent": ["uniform", "random"], "budget": ["flops<=60%", "flops<=80%"]}
    again = autoprune.sweep(settings=quick, **lists, run="runs/both", resume=True)
    assert {name: each.policy for name, each in again.items()} == {name: each.policy for name, each in results.items()}


def test_one_run_of_several_agents_is_refused_and_the_sweep_is_named(folder):
    with pytest.raises(InputError, match=r"autoprune\.sweep"):
        autoprune.compress(settings=QUICK, agent=["uniform", "random"])
    with pytest.raises(InputError, match="of one kind"):
        autoprune.sweep("resnet20", budget=["flops<=50%", "latency<=50%"], run="r")
    with pytest.raises(InputError, match="agent"):
        autoprune.sweep("resnet20", agent=["ddpg", 3], run="r")
