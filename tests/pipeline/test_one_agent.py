"""Several budgets and an agent that sees them: it is trained once, and every run has its own policy within its own."""

import json
import shutil
from pathlib import Path

import pytest

import autoprune

SETTINGS = {
    "target": "tests.support.tiny_job:Formula", "episodes": 6, "finetune_epochs": 1, "finalists": 2,
    "candidate_weights": "recalibrated",
}  # fmt: skip


def rows_of(folder):
    return [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "budgets"
    results = autoprune.sweep(
        trained, **loaders, **SETTINGS, flops=["60%", "40%"], agent=["ddpg", "random"], run=folder
    )
    return results, folder


def test_the_agent_is_trained_once_for_all_budgets(finished):
    _, folder = finished
    first, second = (rows_of(folder / f"ddpg-{amount}") for amount in (60, 40))
    assert first == second and len(first) == 12  # as many episodes for each
    assert [len(rows_of(folder / f"random-{amount}")) for amount in (60, 40)] == [6, 6]
    dense = json.loads((folder / "ddpg-60" / "report.json").read_text())["dense"]["flops"]
    for row in first:
        assert row["predicted_cost"] <= (0.4, 0.6)[row["episode"] % 2] * dense
    assert any(row["predicted_cost"] > 0.4 * dense for row in first)


def test_each_run_has_its_own_policy_within_its_own_budget(finished):
    results, folder = finished
    for amount, share in ((60, 0.6), (40, 0.4)):
        report = results[f"ddpg-{amount}"].report
        assert report["budget"]["met"]
        assert report["finetuned"]["flops"] <= share * report["dense"]["flops"]
    found = [autoprune.Policy.load(folder / f"ddpg-{amount}" / "policy.json").choices for amount in (60, 40)]
    assert found[0] != found[1]


def test_a_search_that_is_not_there_to_be_taken_over_comes_out_the_same(finished, trained, loaders, tmp_path):
    _, folder = finished
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "ddpg-60" / "checkpoint" / "agent.safetensors").unlink()
    shutil.rmtree(copy / "ddpg-40")
    autoprune.sweep(
        trained, **loaders, **SETTINGS, flops=["60%", "40%"], agent=["ddpg", "random"], run=copy, resume=True
    )
    same = ("choices", "predicted_cost", "accuracy")
    played, taken_over = rows_of(copy / "ddpg-40"), rows_of(folder / "ddpg-40")
    assert [[row[key] for key in same] for row in played] == [[row[key] for key in same] for row in taken_over]
