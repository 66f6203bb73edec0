"""Sensitivity analysis: figures against the road that a user would go by hand, the cache, a killed run."""

import json

import numpy as np
import pytest
import torch

import autoprune
from autoprune.agents import best
from autoprune.cost.importance import ImportanceWeights, hardware_importance
from autoprune.cost.macs import macs_cost
from autoprune.envs import largest_uniform
from autoprune.errors import InputError
from autoprune.graph import analyse
from autoprune.pipeline.search.single_cuts import tried_options
from autoprune.run.records import EpisodeRecord
from autoprune.space import Decision
from autoprune.techniques.scoring import Scorer

SETTINGS = {"budget": "flops<=50%", "granularity": 2, "train_threads": 1, "candidate_weights": "recalibrated"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.fixture
def asked(monkeypatch):
    """Every policy whose network is really scored."""
    calls, call = [], Scorer.__call__
    monkeypatch.setattr(Scorer, "__call__", lambda self, choices: (calls.append(dict(choices)), call(self, choices))[1])
    return calls


def test_scores_and_savings_are_those_of_each_decision_cut_alone(trained, loaders, asked, tmp_path):
    content = autoprune.sensitivity(trained, **loaders, **SETTINGS, run=tmp_path / "r", points=2)
    assert content == json.loads((tmp_path / "r" / "sensitivity.json").read_text())
    example = next(iter(loaders["train"]))[0][:1]
    assert content["cost"]["dense"] == autoprune.flops(trained, example)
    space = autoprune.search_space(trained, example, granularity=2)
    assert [row["name"] for row in content["decisions"]] == list(space.names)
    for row in content["decisions"]:
        assert [point["kept"] for point in row["points"]] == tried_options(space[row["name"]], 2)
        for point in row["points"]:
            small = autoprune.apply(trained, space.policy({row["name"]: point["kept"]}), example)
            assert point["cost"] == autoprune.flops(small, example)
        one_less = autoprune.apply(trained, space.policy({row["name"]: row["width"] - 2}), example)
        saved = content["cost"]["dense"] - autoprune.flops(one_less, example)
        assert row["step"]["saved_per_unit"] == pytest.approx(saved / 2)
    assert asked == [{}, *({r["name"]: p["kept"]} for r in content["decisions"] for p in r["points"])]
    assert content["dense"] > max(row["points"][0]["score"] for row in content["decisions"])


def test_scores_are_kept_by_weights_and_data(trained, loaders, asked):
    first = autoprune.sensitivity(trained, **loaders, **SETTINGS, points=2)
    whole = len(asked)
    again = autoprune.sensitivity(trained, **loaders, **SETTINGS, points=2)
    assert again == first
    assert len(asked) == whole + 1  # one is taken again, to see that the scores are still true
    with torch.no_grad():
        other = type(trained)()
        other.load_state_dict(trained.state_dict())
        other.fc.weight[0, 0] += 1.0
    autoprune.sensitivity(other.eval(), **loaders, **SETTINGS, points=2)
    assert len(asked) == 2 * whole + 1


def test_a_cache_that_is_no_longer_true_or_damaged_is_measured_again(trained, loaders, asked, tmp_path):
    first = autoprune.sensitivity(trained, **loaders, **SETTINGS, points=1)
    whole = len(asked)
    (path,) = (tmp_path / "cache" / "sensitivity").iterdir()
    rows = json.loads(path.read_text())
    rows["scores"] = [row | {"score": 0.123} for row in rows["scores"]]
    for content in (json.dumps(rows), "{", "[]", '{"scores": [1]}'):
        path.write_text(content)
        before = len(asked)
        assert autoprune.sensitivity(trained, **loaders, **SETTINGS, points=1) == first
        assert len(asked) - before == whole


def test_a_killed_analysis_goes_on_where_it_stopped(trained, loaders, asked, tmp_path, monkeypatch):
    whole = autoprune.sensitivity(trained, **loaders, **SETTINGS, points=2)
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "another"))
    asked.clear()
    scored = Scorer.__call__

    def dies(self, choices):
        if len(asked) == 3:
            raise KeyboardInterrupt
        return scored(self, choices)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "__call__", dies)
        with pytest.raises(KeyboardInterrupt):
            autoprune.sensitivity(trained, **loaders, **SETTINGS, points=2, run=tmp_path / "r")
    found = autoprune.sensitivity(trained, **loaders, **SETTINGS, points=2, run=tmp_path / "r", resume=True)
    assert found == whole
    assert len(asked) == 1 + sum(len(row["points"]) for row in whole["decisions"])


def test_importance_is_the_formula_relative_to_the_means():
    loss, ms, mj = [0.02, 0.01, 0.03], [0.5, 1.0, 1.5], [2.0, 2.0, 8.0]
    expected = [2 * a / 0.02 + 3 / (b / 1.0) + 0.5 / (c / 4.0) for a, b, c in zip(loss, ms, mj, strict=True)]
    np.testing.assert_allclose(hardware_importance(loss, ms, mj, ImportanceWeights(2, 3, 0.5)), expected)
    assert np.isinf(hardware_importance([1.0, 1.0], [1.0, -0.1], [1, 1], ImportanceWeights())[1])
    assert np.isfinite(hardware_importance([1.0, 1.0], [1.0, -0.1], [1, 1], ImportanceWeights(beta=0))).all()
    for wrong in ((-1, 1, 0), (0, 0, 0), (float("nan"), 1, 1)):
        with pytest.raises(InputError, match="alpha"):
            ImportanceWeights(*wrong)


def test_points_are_options_from_the_least_up_without_the_whole():
    assert tried_options(Decision("a", 16, (4, 8, 12, 16)), 9) == [4, 8, 12]
    assert tried_options(Decision("a", 3, (3,)), 4) == []
    assert tried_options(Decision("b", 1, (0, 1), kind="block"), 4) == [0]


@pytest.mark.parametrize("agent", ["ddpg", "optuna"])
def test_a_search_starts_from_the_solvers_answers_and_never_ends_below_them(agent, trained, loaders, tmp_path, asked):
    common = {**SETTINGS, "granularity": 1, "finetune_epochs": 0, "finalists": 1}
    autoprune.compress(trained, **loaders, **common, agent=agent, episodes=16, run=tmp_path / "r")
    lines = (tmp_path / "r" / "episodes.jsonl").read_text().splitlines()
    records = [EpisodeRecord.from_row(json.loads(line)) for line in lines]
    journal = json.loads((tmp_path / "r" / "checkpoint" / "journal.json").read_text())
    answers = journal["solvers' answers"]
    assert [record.choices for record in records[: len(answers)]] == answers
    example = next(iter(loaders["train"]))[0][:1]
    space = autoprune.search_space(trained, example, granularity=1)
    cost = macs_cost(analyse(trained, example), space)
    assert answers[0] == largest_uniform(cost, 0.5 * cost.dense)
    assert len(answers) > 1 and all(cost.cost(choices) <= 0.5 * cost.dense for choices in answers)
    assert best(records)[0].reward >= max(record.reward for record in records[: len(answers)])


def test_the_search_of_a_solver_measures_curves_and_resumes_with_them(trained, loaders, tmp_path, asked):
    common = {**SETTINGS, "agent": "exact", "finetune_epochs": 0, "finalists": 1, "run": tmp_path / "r"}
    result = autoprune.compress(trained, **loaders, **common, episodes=6)
    assert (tmp_path / "r" / "checkpoint" / "sensitivity.jsonl").exists()
    rows = (tmp_path / "r" / "episodes.jsonl").read_bytes()
    (tmp_path / "r" / "report.json").unlink()
    singles = [choices for choices in asked if len(choices) < 3]
    asked.clear()
    again = autoprune.compress(trained, **loaders, **common, episodes=6, resume=True)
    assert (tmp_path / "r" / "episodes.jsonl").read_bytes() == rows
    assert singles and [choices for choices in asked if len(choices) < 3] == []
    assert again.policy == result.policy
