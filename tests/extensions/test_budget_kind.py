"""A budget kind that another package adds by an entry point works wherever the ones that ship do."""

import json
import sys
from pathlib import Path

import pytest
import torch

import autoprune
from autoprune.cost.metrics import METRICS, metric_of
from autoprune.cost.metrics.params import Params
from autoprune.testing.metric import check_metric
from tests.support.command_line import TINY

HERE = Path(__file__).parent
FAST = ["--train-epochs", "1", "--finetune-epochs", "1", "--train-threads", "1"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as pip would leave it, and the tests' tiny job."""
    site = tmp_path / "site"
    (site / "weight_bytes-1.0.dist-info").mkdir(parents=True)
    (site / "weight_bytes-1.0.dist-info" / "METADATA").write_text("Name: weight-bytes\nVersion: 1.0\n")
    entry = "[autoprune.metrics]\nweight-bytes = weight_bytes:WeightBytes\n"
    (site / "weight_bytes-1.0.dist-info" / "entry_points.txt").write_text(entry)
    (site / "weight_bytes.py").write_bytes((HERE / "weight_bytes.py").read_bytes())
    monkeypatch.syspath_prepend(site)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    vars(METRICS).pop("_foreign", None)  # what is installed is looked up once a process
    yield work
    vars(METRICS).pop("_foreign", None)
    METRICS.unregister("weight-bytes")
    sys.modules.pop("weight_bytes", None)


def run(*arguments):
    from autoprune.cli.main import run

    return run([*arguments])


def test_it_is_searched_kept_and_reported_from_the_command_line(installed, capsys):
    budget = ["--budget", "weight-bytes=50%", "--agent", "random", "--episodes", "4", "--finalists", "2"]
    assert run("compress", *TINY, *FAST, *budget, "--run", "bytes") == 0
    folder = installed / "runs/bytes"
    report = json.loads((folder / "report.json").read_text())
    small = autoprune.load(folder)
    assert report["budget"]["kind"] == "weight-bytes" and report["budget"]["met"]
    assert report["budget"]["limit"] == 0.5 * 4 * report["dense"]["params"]
    assert report["budget"]["measured"] == 4 * sum(p.numel() for p in small.parameters())
    policy = json.loads((folder / "policy.json").read_text())
    assert policy["predicted"]["weight_bytes"] == policy["measured"]["weight_bytes"] == report["budget"]["measured"]
    said = capsys.readouterr()
    assert f"{report['budget']['measured']:,.0f} bytes" in said.out
    assert "weights in bytes" in said.out
    assert "bytes" in (folder / "report.html").read_text()


def test_progressive_pruning_goes_to_it_too(installed, capsys):
    assert run("progressive", *TINY, *FAST, "--budget", "weight-bytes=60%", "--step", "25%", "--run", "steps") == 0
    rows = [json.loads(line) for line in (installed / "runs/steps/steps.jsonl").read_text().splitlines()]
    assert rows[-1]["over"] <= 1 and {row["how"] for row in rows} == {"counted"}
    capsys.readouterr()


def test_from_python_and_in_absolute_terms(installed):
    from tests.support import tiny_job

    torch.manual_seed(0)
    model = tiny_job.network()
    train, search, test = tiny_job.loaders()
    dense = 4 * autoprune.params(model)
    result = autoprune.compress(
        model, train=train, search=search, test=test, budget=f"weight-bytes<={0.7 * dense / 1e3}kB",
        target="tests.support.tiny_job:Formula", agent="uniform", finetune_epochs=0,
    )  # fmt: skip
    assert 4 * autoprune.params(result.model) == result.report["budget"]["measured"] <= 0.7 * dense


def test_what_cannot_be_meant_is_refused(installed, capsys):
    assert run("compress", *TINY, "--budget", "weight-bytes=50 apples", "--run", "no") == 2
    assert "50% or 100kB" in capsys.readouterr().err
    assert run("compress", *TINY, "--budget", "weight_byte=50%", "--run", "no") == 2
    assert "weight-bytes" in capsys.readouterr().err
    assert run("compress", *TINY, "--budget", "weight-bytes=50%,weight-bytes@torch=9%", "--run", "no") == 2
    assert "only what is timed" in capsys.readouterr().err
    assert not (installed / "runs").exists()


@pytest.mark.parametrize("kind", list(METRICS))
def test_our_own_kinds_conform(kind, net, example):
    check_metric(metric_of(kind), net, example)


def test_the_example_conforms(installed, net, example):
    check_metric(metric_of("weight-bytes"), net, example)


class OffByOne(Params):
    kind = "off-by-one"

    def price(self, context, *, budgeted):
        cost = super().price(context, budgeted=budgeted)
        cost.kind = self.kind
        return cost

    def count(self, network, example, cost, batch):
        return super().count(network, example, cost, batch) + 1


def test_a_kind_that_counts_something_else_than_it_prices_is_named(net, example):
    with pytest.raises(AssertionError, match="off-by-one: a policy is priced at"):
        check_metric(OffByOne(), net, example)
