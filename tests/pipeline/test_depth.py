"""Jobs that drop blocks: delivered, stored, rebuilt, resumed and reported as any other."""

import json

import pytest
import torch
from torch import nn

import autoprune
from autoprune.models import read_weights
from autoprune.reports import write_html
from autoprune.run.directory import RunDir

X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Deep(nn.Module):
    """Three blocks of one width behind a stem; 4 classes. What it learns it learns without most of them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(*(Block() for _ in range(3)))
        self.fc = nn.Linear(8 * 16, 4)

    def forward(self, x):
        x = self.blocks(torch.relu(self.norm(self.stem(x))))
        return self.fc(x.flatten(1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.conv2, self.bn2 = nn.Conv2d(12, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x):
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


@pytest.fixture(scope="module")
def deep(loaders):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Deep()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for images, labels in [*loaders["train"]] * 4:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model.eval()


def compress(model, loaders, **settings):
    defaults = {
        "budget": "flops<=35%",
        "target": "tests.support.tiny_job:Formula",  # what is timed here is not what is tested
        "episodes": 10,
        "finetune_epochs": 1,
        "finalists": 2,
    }
    return autoprune.compress(model, **loaders, **{"kinds": ("channels", "block"), **defaults, **settings})


@pytest.fixture(scope="module")
def finished(deep, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "deep"
    return compress(deep, loaders, run=folder, agent="ddpg", granularity=2), folder


def blocks_of(policy):
    return {name: units for name, units in policy.choices.items() if policy.kinds.get(name) == "block"}


def test_episodes_drop_blocks_and_the_budget_is_met_by_an_independent_count(finished):
    result, folder = finished
    assert list(blocks_of(result.policy)) == ["blocks.0", "blocks.1", "blocks.2"]
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert any(row["choices"][name] == 0 for row in rows for name in blocks_of(result.policy))
    for row in rows:
        for name in blocks_of(result.policy):
            assert row["choices"][name] == 1 or row["choices"][f"{name}.conv1"] == 12
    assert autoprune.flops(result.model, X) == result.report["budget"]["measured"] <= result.report["budget"]["limit"]
    assert result.report["finetuned"]["params"] == autoprune.params(result.model)


@pytest.mark.parametrize("budget", ["params<=30%", "flops<=60%"])
def test_blocks_alone(deep, loaders, budget, tmp_path):
    result = compress(deep, loaders, agent="random", budget=budget, kinds=("block",), run=tmp_path / "r")
    kept = blocks_of(result.policy)
    assert kept == result.policy.choices
    assert 0 in kept.values()
    for name, units in kept.items():
        block = result.model.get_submodule(name)
        assert isinstance(block, nn.Identity) == (units == 0)
        assert result.policy.kept[name] == [0] * units
    assert result.model.stem.weight.shape == deep.stem.weight.shape
    loaded = autoprune.load(tmp_path / "r", model=Deep())
    with torch.no_grad():
        assert torch.equal(loaded(X), result.model.eval()(X))
    raw = autoprune.apply(deep, result.policy, X)
    stored = read_weights(tmp_path / "r" / "pruned.safetensors")
    assert raw.state_dict().keys() == stored.keys()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in raw.state_dict().items())
    silent = autoprune.apply(deep, result.policy, X, zero=True)
    with torch.no_grad():
        torch.testing.assert_close(raw(X), silent(X), rtol=1e-4, atol=1e-5)


def test_export_reads_the_run(finished, tmp_path):
    from autoprune.export.formats import export_onnx

    result, folder = finished
    small = autoprune.load(folder, model=Deep())
    export_onnx(small, X[:1], tmp_path / "small.onnx")  # compares outputs before it writes
    with torch.no_grad():
        assert torch.equal(small(X), result.model.eval()(X))


def test_report_and_tensorboard_show_blocks(finished):
    _, folder = finished
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert "blocks.1" in write_html(folder).read_text()
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    kept = [event.value for event in events.Scalars("keep/blocks.1")]
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert kept == [row["choices"]["blocks.1"] for row in rows]


class Stop(Exception):
    pass


def test_an_interrupted_job_ends_as_one_that_was_not(finished, deep, loaders, tmp_path, monkeypatch):
    result, whole = finished
    append = RunDir.append_episode

    def stopping(run, row):
        append(run, row)
        if row["episode"] == 3:
            raise Stop

    settings = {"run": tmp_path / "r", "agent": "ddpg", "granularity": 2}
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(RunDir, "append_episode", stopping)
        compress(deep, loaders, **settings)
    assert 0 < len((tmp_path / "r" / "episodes.jsonl").read_text().splitlines()) < 10
    again = compress(deep, loaders, resume=True, **settings)
    assert again.policy.choices == result.policy.choices
    first, second = ((f / "episodes.jsonl").read_text().splitlines() for f in (whole, tmp_path / "r"))
    skipped = ("seconds", "cached")
    plain = [
        [{k: v for k, v in json.loads(row).items() if k not in skipped} for row in rows] for rows in (first, second)
    ]
    assert plain[0] == plain[1]


@pytest.mark.slow
def test_resnet56_from_the_command_line(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from autoprune.cli.main import app

    monkeypatch.chdir(tmp_path)
    settings = "--kinds channels,block --data digits --flops 40% --target torch --agent random --episodes 4"
    training = "--train-epochs 1 --finetune-epochs 1 --finalists 2 --run deep"
    command = f"compress --model resnet56 {settings} {training}"
    outcome = CliRunner().invoke(app, command.split())
    assert outcome.exit_code == 0, outcome.output
    report = json.loads((tmp_path / "runs" / "deep" / "report.json").read_text())
    assert report["budget"]["met"]
    assert sum(kind == "block" for kind in autoprune.Policy.load("runs/deep/policy.json").kinds.values()) == 25
