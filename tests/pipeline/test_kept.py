"""A run keeps the network before a training that lost score, in every job that fine-tunes, and says so."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import autoprune
from autoprune.evaluation import accuracy
from autoprune.models import load_weights
from autoprune.reports import write_html
from tests.support.listener import Heard

SHAPE = (1, 1, 8, 8)
COMMON = {"target": "tests.support.tiny_job:Formula", "finetune_epochs": 1, "example_input": torch.zeros(SHAPE)}
SEARCHED = COMMON | {"budget": "flops<=70%", "agent": "uniform", "episodes": 3, "finalists": 1}
SPARSE = COMMON | {"pattern": "unstructured:0.3", "timing": "quick"}
ERASED = {"optimizer": "tests.pipeline.test_kept:Erasing", "lr": 0.1}


class Erasing(torch.optim.SGD):
    """What an absurd learning rate comes to, on every machine the same: nothing that was learned is left."""

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter.zero_()


def plain() -> nn.Module:
    """No BatchNorm, which would bound what a large step does."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)
    )


@pytest.fixture(scope="module")
def learned(loaders):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = plain()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(6):
            for images, labels in loaders["train"]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
    return model.eval()


def ruined(model, constraint, epochs):
    """A loop that answers wrong with certainty."""
    with torch.no_grad():
        model[5].weight.neg_()
        model[5].bias.neg_()
    return model


def kept_before(result, folder, loaders):
    """The run's last training lost; what is handed over is a network as good as the one before."""
    (outcome,) = result.report["fine_tuning"]
    assert not outcome["kept"] and outcome["before"] > 0.5 and (outcome["after"] or 0.0) < outcome["before"]
    assert result.report["finetuned"]["accuracy"] == accuracy(result.model, loaders["test"], bf16=False) > 0.5
    assert json.loads((folder / "report.json").read_text()) == result.report
    again = autoprune.load(folder, model=plain())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), result.model.parameters(), strict=True))
    write_html(folder)
    assert "the network before it is kept" in (folder / "report.html").read_text()
    return outcome


@pytest.mark.parametrize("how", [ERASED | {"schedule": "cubic", "finetune_epochs": 2}, {"finetune": ruined}])
def test_compress(learned, loaders, tmp_path, how):
    talk = Heard()
    result = autoprune.compress(learned, **loaders, **SEARCHED | how, run=tmp_path / "run", talk=talk)
    outcome = kept_before(result, tmp_path / "run", loaders)
    said = [line for line in talk.said if "the network before it is kept" in line]
    assert said and f"{outcome['before']:.2%}".replace("%", " %") in said[0]
    finished = plain_like(result)
    load_weights(finished, tmp_path / "run" / "finetuned.safetensors")
    assert accuracy(finished, loaders["test"], bf16=False) == result.report["finetuned"]["accuracy"]


def plain_like(result):
    widths = [result.model[0].out_channels, result.model[2].out_channels]
    return nn.Sequential(
        nn.Conv2d(1, widths[0], 3), nn.ReLU(), nn.Conv2d(*widths, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * widths[1], 4),
    )  # fmt: skip


@pytest.mark.parametrize("recipe", ["asp", "gradual", "sr-ste"])
def test_sparsify(learned, loaders, tmp_path, recipe):
    result = autoprune.sparsify(learned, **loaders, **SPARSE | ERASED, recipe=recipe, run=tmp_path / "run")
    kept_before(result, tmp_path / "run", loaders)
    weights = [module.weight for module in result.model if hasattr(module, "weight")]
    dense = [module.weight for module in learned if hasattr(module, "weight")]
    for mine, theirs in zip(weights, dense, strict=True):  # as one-shot leaves it: dense weights, some of them zero
        assert torch.equal(mine, torch.where(mine != 0, theirs, mine))
    assert 0.2 < sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights) <= 0.3


def test_progressive_keeps_it_after_every_step(learned, loaders, tmp_path):
    settings = COMMON | {"budget": "latency<=90%", "step": "10%"} | ERASED
    result = autoprune.progressive(learned, **loaders, **settings, run=tmp_path / "run")
    kept_before(result, tmp_path / "run", loaders)
    rows = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert len(rows) > 1 and all(row["accuracy"] > 0.5 for row in rows)


def test_a_resumed_run_keeps_the_same(learned, loaders, tmp_path):
    settings = SEARCHED | {"finetune": ruined, "run": tmp_path / "run"}
    first = autoprune.compress(learned, **loaders, **settings)
    (tmp_path / "run" / "report.json").unlink()
    again = autoprune.compress(learned, **loaders, **settings, resume=True)
    assert again.report["fine_tuning"] == first.report["fine_tuning"]
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), first.model.parameters(), strict=True))


def test_without_epochs_nothing_is_compared(learned, loaders, tmp_path):
    result = autoprune.compress(learned, **loaders, **SEARCHED | {"finetune_epochs": 0}, run=tmp_path / "run")
    assert result.report["fine_tuning"] == []
