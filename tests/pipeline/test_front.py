"""`front`: the whole front in one run, in files and on the page; what is finished is within the budget."""

import json

import pytest

import autoprune
from autoprune.cli.main import run
from autoprune.errors import InputError
from autoprune.reports import write_html
from tests.support.command_line import TINY


@pytest.fixture(scope="module")
def finished(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "front"
    result = autoprune.compress(
        trained, **loaders, budget="flops<=40%", target="tests.support.tiny_job:Formula", agent="optuna", front=True,
        episodes=24, finetune_epochs=1, finalists=2, run=folder,
    )  # fmt: skip
    return result, folder, json.loads((folder / "front.json").read_text())


def test_points_are_episodes_that_no_other_beats(finished):
    _, folder, front = finished
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    for point in front["points"]:
        row = rows[point["episode"]]
        assert (point["score"], point["predicted_cost"]) == (row["accuracy"], row["predicted_cost"])
        better = [r for r in rows if r["predicted_cost"] <= row["predicted_cost"] and r["accuracy"] > row["accuracy"]]
        assert not better
    costs = [point["predicted_cost"] for point in front["points"]]
    assert costs == sorted(set(costs))
    assert front["limit"] == 0.4 * front["dense"]["predicted_cost"]
    assert costs[0] <= front["limit"] < max(row["predicted_cost"] for row in rows) <= front["dense"]["predicted_cost"]


def test_every_point_is_a_policy_that_can_be_applied(finished, trained):
    import torch

    _, folder, front = finished
    for point in front["points"]:
        small = autoprune.load(folder / point["policy"], folder / "dense.safetensors", model=trained)
        assert autoprune.flops(small, torch.zeros(1, 1, 8, 8)) == point["predicted_cost"]


def test_what_is_finished_is_within_the_budget(finished):
    result, folder, front = finished
    assert result.report["budget"]["met"]
    assert result.report["budget"]["measured"] <= front["limit"]
    assert autoprune.Policy.load(folder / "policy.json").predicted["flops"] <= front["limit"]


def test_the_page_shows_the_front(finished):
    _, folder, front = finished
    page = write_html(folder).read_text()
    assert "The front of the search" in page
    assert all(point["policy"] in page for point in front["points"])
    (folder / "front.json").write_text(json.dumps(front | {"kind": 7}))
    with pytest.raises(InputError, match=r"front\.json is damaged: kind"):
        write_html(folder)
    (folder / "front.json").write_text(json.dumps(front))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agent": "random"}, "--front needs an agent"),
        ({"agent": "optuna", "budget": None, "accuracy_drop": 1.0}, "a front starts from a budget"),
    ],
)
def test_a_front_that_cannot_be_is_refused(trained, loaders, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        autoprune.compress(
            trained, **loaders, **{"budget": "flops<=40%", **settings}, target="torch", front=True, run=tmp_path / "r"
        )
    assert list(tmp_path.iterdir()) == []


def test_one_ddpg_agent_searches_the_front_and_starts_another_run(tmp_path):
    def rows(name, *options):
        words = ["--flops", "50%", "--front", "--train-epochs", "1", "--episodes", "9", "--warmup", "3"]
        assert run(["search", *TINY, *words, "--agent", "ddpg", "--run", str(tmp_path / name), *options]) == 0
        return [json.loads(line) for line in (tmp_path / name / "episodes.jsonl").read_text().splitlines()]

    first, second = rows("first"), rows("second", "--warm-start", str(tmp_path / "first"))
    front = json.loads((tmp_path / "first" / "front.json").read_text())
    assert first[0]["predicted_cost"] <= front["limit"] < max(row["predicted_cost"] for row in first)
    assert autoprune.Policy.load(tmp_path / "first" / "policy.json").predicted["flops"] <= front["limit"]
    copy, state = (tmp_path / name for name in ("second/checkpoint/warm-start.safetensors", "first/checkpoint"))
    assert copy.read_bytes() == (state / "agent.safetensors").read_bytes()
    before, after = ([row["choices"] for row in each] for each in (first, second))
    assert before[:3] == after[:3] and before[3:] != after[3:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"agent": "random"}, "--warm-start is for agents whose networks learn"), ({"agent": "ddpg"}, "there is no")],
)
def test_a_warm_start_that_cannot_be_is_refused(trained, loaders, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        autoprune.compress(
            trained,
            **loaders,
            budget="flops<=40%",
            target="torch",
            warm_start="nowhere",
            run=tmp_path / "r",
            **settings,
        )
    assert list(tmp_path.iterdir()) == []
