"""Every job that ships keeps the contract of a job; one that does not is named."""

from typing import Any

import pytest
import torch

from autoprune.models import save_weights
from autoprune.pipeline.jobs.codesign.settings import codesign_settings
from autoprune.pipeline.jobs.compress import CompressJob
from autoprune.pipeline.jobs.dynamic.settings import dynamic_settings
from autoprune.pipeline.jobs.lottery.job import lottery_settings
from autoprune.pipeline.jobs.quantize.settings import quantize_settings
from autoprune.pipeline.jobs.registry import JOBS, job_named
from autoprune.pipeline.jobs.sparsify.chosen import sparsify_settings
from autoprune.pipeline.task import load_task
from autoprune.run.experiment import Experiment
from autoprune.testing.job import check_job
from tests.support.tiny_job import network

SETTINGS = {
    "model": "tests.support.tiny_job:network",
    "data": "tests.support.tiny_job:loaders",
    "target": "tests.support.tiny_job:Formula",
    "flops": "60%",
    "agent": "random",
    "episodes": 3,
    "finalists": 2,
    "train_epochs": 1,
    "finetune_epochs": 1,
    "train_threads": 1,
}
OTHER = {
    "progressive": {"agent": "progressive", "step": "30%", "step_epochs": 1},
    "accuracy-drop": {"flops": None, "accuracy_drop": 60.0, "episodes": 5},
    "dynamic": {
        "flops": None,
        "agent": None,
        "target": "onnxruntime",
        "timing": "quick",
        "weights": "trained.safetensors",
        "max_drop": 90.0,
        "worst": "300%",
        "static_episodes": 3,
        "static_epochs": 1,
        "episodes": None,
        "finalists": None,
        "finetune_epochs": None,
    },
    "codesign": {"flops": None, "accuracy_drop": 60.0, "levels": 1, "chips": 2, "vectors": 2},
    "quantize": {
        "flops": None,
        "agent": None,
        "target": "tests.support.targets.integers:ByBytes",
        "weights": "trained.safetensors",
        "tolerance": 50.0,
        "episodes": None,
        "finalists": None,
        "finetune_epochs": None,
    },
    "lottery": {"rounds": 1, "seeds": 1, "controls": "random"},
}


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def made(name):
        settings: dict[str, Any] = {**SETTINGS, **OTHER.get(name, {})}
        settings = sparsify_settings(settings | {"recipe": "asp"}) if name == "sparsify" else settings
        if name in ("dynamic", "quantize"):
            torch.manual_seed(0)
            save_weights(network().state_dict(), tmp_path / "trained.safetensors")
            own = dynamic_settings if name == "dynamic" else quantize_settings
            settings = own({key: value for key, value in settings.items() if value is not None})
        if name == "codesign":
            settings = codesign_settings({key: value for key, value in settings.items() if value is not None})
        settings = lottery_settings(settings) if name == "lottery" else settings
        return Experiment.build({key: value for key, value in settings.items() if value is not None} | {"run": "r"})

    return made


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("dynamic", "codesign") else ())
        for name in JOBS
        if name != "search"
    ],
)  # it leaves a policy, and no report
def test_our_own_jobs_conform(name, experiment):
    wanted = experiment(name)
    check_job(job_named(name), wanted, lambda: load_task(wanted))


class Forgetful(CompressJob):
    name = "forgetful"

    def run(self, task, run, reporter):
        result = super().run(task, run, reporter)
        run.file("policy.json").write_text(run.file("policy.json").read_text().replace('"seed": 0', '"seed": 1'))
        return result


def test_a_job_that_stores_something_else_than_it_gives_back_is_named(experiment):
    wanted = experiment("compress")
    with pytest.raises(AssertionError, match=r"forgetful: policy\.json is not the result's policy"):
        check_job(Forgetful(), wanted, lambda: load_task(wanted))
