"""Agents x budgets x seeds: means, paired intervals and curves against values computed by hand."""

import io
import json
import math

import pytest
import yaml
from rich.console import Console

from autoprune.cli.main import run
from autoprune.errors import InputError
from autoprune.reports.compare import read_runs
from autoprune.reports.grid import arms_of, curves_picture, grid_table, paired
from tests.support.command_line import TINY
from tests.support.run_folders import report_of, write_run

SCORES = {"ddpg": {0: 0.90, 1: 0.92, 2: 0.91}, "random": {0: 0.89, 1: 0.90, 2: 0.91, 7: 0.95}}


@pytest.fixture
def folder(tmp_path, space):
    for agent, scores in SCORES.items():
        for seed, score in scores.items():
            figures = {"accuracy": score, "latency_ms": 0.3, "flops": 9e6, "params": 6e4}
            report = report_of(agent=agent, seed=seed, finetuned=figures, seconds={"total": 100.0 + seed})
            write_run(tmp_path / "grid" / f"seed-{seed}" / agent, space, report=report)
    return tmp_path / "grid"


def printed(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_differences_are_paired_over_common_seeds_with_students_interval(folder):
    arms = {arm.agent: arm for arm in arms_of(read_runs([folder]))}
    assert arms["ddpg"].mean == pytest.approx(0.91) and arms["ddpg"].spread == pytest.approx(0.01)
    found = paired(arms["random"], arms["ddpg"])
    # differences -0.01, -0.02, 0.00: mean -0.01, standard deviation 0.01; t(2, 0.975) = 4.30265
    assert found.seeds == 3 and found.mean == pytest.approx(-0.01)
    assert found.half == pytest.approx(4.30265 * 0.01 / math.sqrt(3), rel=1e-4)
    assert not found.clear


def test_the_table_says_seeds_mean_difference_and_time(folder):
    text = printed(grid_table(arms_of(read_runs([folder])), against="ddpg"))
    ddpg, random = (next(line for line in text.splitlines() if f" {agent} " in line) for agent in ("ddpg", "random"))
    assert "91.00 \N{PLUS-MINUS SIGN} 1.00 %" in ddpg and "the reference" in ddpg
    assert "\N{MINUS SIGN}1.00 \N{PLUS-MINUS SIGN} 2.48 points, not clear" in random
    assert "1:42 min" in random  # 100, 101, 102 and 107 seconds
    with pytest.raises(InputError, match="none of these runs is of optuna; there are ddpg, random"):
        grid_table(arms_of(read_runs([folder])), against="optuna")


def test_curves_count_what_was_evaluated_and_is_within_the_budget(folder, tmp_path):
    rows = [
        {"episode": 0, "accuracy": 0.5, "predicted_cost": 0.1},
        {"episode": 1, "accuracy": 0.9, "predicted_cost": 99.0},  # over the budget
        {"episode": 2, "accuracy": 0.5, "predicted_cost": 0.1, "cached": True},
        {"episode": 3, "accuracy": 0.7, "predicted_cost": 0.1},
    ]
    path = folder / "seed-0" / "ddpg" / "episodes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arms = {arm.agent: arm for arm in arms_of(read_runs([folder / "seed-0"]))}
    assert arms["ddpg"].curves == ((0.5, 0.5, 0.7),) and arms["ddpg"].evaluations == (3,)
    curves_picture(list(arms.values()), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_two_runs_of_one_cell_are_refused(folder, space):
    write_run(folder / "again", space, report=report_of(agent="ddpg", seed=1))
    with pytest.raises(InputError, match=r"one agent, budget and seed \(1\)"):
        arms_of(read_runs([folder]))


def test_the_command_runs_what_a_grid_lacks_and_compares(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    names = dict(zip(("model", "data", "target"), TINY[1::2], strict=True))
    settings = {**names, "agent": "random,uniform", "flops": "60%", "episodes": 4, "finalists": 1}
    settings |= {"train_epochs": 1, "finetune_epochs": 1, "run": str(tmp_path / "grid")}
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(settings))
    words = ["compare", "--grid", str(file), "--seeds", "0,1", "--curves", str(tmp_path / "c.svg")]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "random" in said and "uniform" in said and "the reference" in said and "evaluations" in said
    reports = sorted(tmp_path.glob("grid/seed-*/*/report.json"))
    assert [path.parent.name for path in reports] == ["random", "uniform"] * 2
    before = {path: path.stat().st_mtime_ns for path in reports}
    assert run(words) == 0
    assert {path: path.stat().st_mtime_ns for path in reports} == before
    assert run(["compare", "--grid", str(file), "--seeds", "0,x"]) == 2
    assert "whole numbers" in capsys.readouterr().err
