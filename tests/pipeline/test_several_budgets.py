"""Several budgets in one job: all of them kept in every episode, measured at the end, and reported."""

import json

import pytest

import autoprune
from autoprune.cli.main import run
from autoprune.cost.budget import Budget, parsed_budgets
from autoprune.errors import BudgetError, InputError
from autoprune.reports import compare, write_html
from autoprune.reports.tables import summary_lines
from autoprune.run.experiment import Experiment
from autoprune.run.sweep import sub_experiments
from tests.support.command_line import TINY

FORMULA = "tests.support.tiny_job:Formula"
SECOND = "tests.support.tiny_job:Backwards"


@pytest.fixture(scope="module")
def finished(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "three"
    result = autoprune.compress(
        trained, **loaders, budget=["latency<=70%", "params<=50%", f"latency@{SECOND}<=75%"], target=FORMULA,
        agent="optuna", episodes=16, finetune_epochs=1, finalists=2, run=folder,
    )  # fmt: skip
    return result, folder


def test_every_episode_is_within_all_budgets(finished):
    _, folder = finished
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert len(rows) == 16 and all(row["predicted_cost"] <= 1 for row in rows)
    assert max(row["predicted_cost"] for row in rows) > 0.9


def test_each_budget_is_measured_and_reported(finished, trained):
    result, folder = finished
    latency, params, second = result.report["budgets"]
    assert [each["kind"] for each in (latency, params, second)] == ["latency", "params", "latency"]
    assert second["target"] == SECOND and result.report["budget"] == latency
    assert all(each["met"] and each["measured"] <= each["limit"] for each in (latency, params, second))
    assert params["measured"] == sum(p.numel() for p in result.model.parameters())
    assert params["limit"] == 0.5 * sum(p.numel() for p in trained.parameters())
    from tests.support.tiny_job import Backwards, Formula  # each measured by its own formula

    example = next(iter(trained.parameters())).new_zeros(1, 1, 8, 8)
    for target, outcome in ((Formula(), latency), (Backwards(), second)):
        (again,) = target.time([target.pack(result.model, example)], None)
        assert again.ms == pytest.approx(outcome["measured"], rel=0.05)
    policy = json.loads((folder / "policy.json").read_text())
    assert {"latency_ms", "params", f"latency_ms@{SECOND}"} <= set(policy["predicted"]) & set(policy["measured"])
    assert [each["kind"] for each in policy["budget"]["further"]] == ["params", f"latency@{SECOND}"]


def test_reports_and_comparisons_name_each(finished):
    result, folder = finished
    lines = [line for line in summary_lines(result.report) if line.startswith("budget")]
    assert len(lines) == 3 and all(": met" in line for line in lines) and SECOND in lines[2]
    page = write_html(folder).read_text()
    assert "params ≤ 50%" in page and f"latency@{SECOND} ≤ 75%" in page
    columns = [list(column.cells) for column in compare([folder]).columns]
    assert f"latency 70%, params 50%, latency@{SECOND} 75%" in str(columns[1])


def test_a_killed_job_comes_by_the_same(finished, trained, loaders, tmp_path):
    result, _ = finished
    settings = {
        "budget": ["latency<=70%", "params<=50%", f"latency@{SECOND}<=75%"], "target": FORMULA, "agent": "optuna",
        "episodes": 16, "finetune_epochs": 1, "finalists": 2,
    }  # fmt: skip

    class EndedError(Exception):
        pass

    def end(event):
        if event.kind == "episode" and event.values["episode"] == 9:
            raise EndedError

    with pytest.raises((EndedError, autoprune.errors.AutopruneError)):
        autoprune.compress(trained, **loaders, **settings, run=tmp_path / "again", callbacks=end)
    again = autoprune.compress(trained, **loaders, **settings, run=tmp_path / "again", resume=True)
    assert again.policy.choices == result.policy.choices
    assert again.report["budgets"] == result.report["budgets"]


def test_the_command_takes_several(tmp_path, capsys):
    words = ["search", *TINY, "--flops", "60%", "--params", "50%", "--train-epochs", "1", "--episodes", "6"]
    assert run([*words, "--agent", "random", "--run", str(tmp_path / "r")]) == 0
    said = "".join(capsys.readouterr())
    assert "flops in MACs" in said and "params in parameters" in said
    predicted = json.loads((tmp_path / "r" / "policy.json").read_text())["predicted"]
    dense = autoprune.Policy.load(tmp_path / "r" / "policy.json")
    assert dense.budget["further"] == [{"kind": "params", "requested": "50%"}]
    assert set(predicted) >= {"flops", "params"}


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ("latency@torch<=60%,latency@torch<=50%", "several agents or budgets"),
        ("flops<=60%,params<=1%", "params<=1%"),
        ("params@torch<=50%", "only what is timed"),
        ("latency<=50%,latency@nowhere<=50%", "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(trained, loaders, tmp_path, budgets, message):
    with pytest.raises((InputError, BudgetError), match=message):
        autoprune.compress(trained, **loaders, budget=budgets, target=FORMULA, run=tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_progressive_and_a_drop_take_one_budget(trained, loaders, tmp_path):
    with pytest.raises(InputError, match="goes to one budget"):
        autoprune.progressive(trained, **loaders, budget="flops<=50%,params<=50%", target=FORMULA, run=tmp_path / "r")
    with pytest.raises(InputError, match="goes with no other"):
        autoprune.compress(trained, **loaders, latency="50%", accuracy_drop=1.0, target=FORMULA, run=tmp_path / "r")


def test_amounts_with_commas_are_runs_and_budgets_are_kept_together():
    parts = sub_experiments(Experiment(latency="30%,50%", params="40%", budget=f"latency@{SECOND}=60%", run="a"))
    assert [str(each.run_dir) for each in parts] == ["runs/a/ddpg-30", "runs/a/ddpg-50"]
    assert [each.requested_budgets for each in parts] == [
        (("latency", amount), ("params", "40%"), (f"latency@{SECOND}", "60%")) for amount in ("30%", "50%")
    ]
    (alone,) = sub_experiments(Experiment(budget="params=50%,latency@torch@threads=2=60%"))
    assert alone.requested_budgets == (("params", "50%"), ("latency@torch@threads=2", "60%"))
    assert parsed_budgets(alone.requested_budgets)[1] == Budget("latency", "60%", 0.6, True, "torch@threads=2")
    assert Experiment.build(alone.model_dump()) == alone
