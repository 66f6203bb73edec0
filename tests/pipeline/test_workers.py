"""Rounds of episodes: one seed and one size of rounds give one search, for any number of workers."""

import json
import shutil

import pytest
from torch.utils.data import DataLoader

import autoprune
from autoprune.errors import InputError
from autoprune.techniques.homes.pool import Pool
from tests.pipeline.conftest import quarters

AGENTS = ["random", "optuna", "ddpg", "evolution", "exact", "netadapt", "importance"]


def searched(model, loaders, folder, **settings):
    given = {"budget": "flops<=20%", "granularity": 1, "target": "torch", "episodes": 14, "warmup": 5, "batch": 4}
    loaders = loaders | {"search": DataLoader(quarters(1000, 1), batch_size=100)}
    small = {"finalists": 2, "finetune_epochs": 0, "candidate_weights": "recalibrated", "train_threads": 1}
    autoprune.compress(model, **loaders, run=folder, **(given | small | settings))
    return rows_of(folder)


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in ("seconds", "cached")} for row in rows]


def widths(folder):
    return json.loads((folder / "policy.json").read_text())["kept"]


def cut_off(folder, other, episodes):
    """A run that was killed after so many episodes, before any checkpoint but the first."""
    other.mkdir()
    for name in ("experiment.yaml", "dense.safetensors"):
        shutil.copy(folder / name, other / name)
    lines = (folder / "episodes.jsonl").read_text().splitlines(keepends=True)
    (other / "episodes.jsonl").write_text("".join(lines[:episodes]))


def test_workers_change_nothing_and_a_round_that_was_cut_off_ends_as_the_whole_one(trained, loaders, tmp_path):
    one = searched(trained, loaders, tmp_path / "one", agent="evolution")
    assert any("images" in row for row in one)  # racing, too
    two = searched(trained, loaders, tmp_path / "two", agent="evolution", workers=2)
    assert two == one and widths(tmp_path / "two") == widths(tmp_path / "one")
    assert not (tmp_path / "two" / "checkpoint" / "candidates.pt").exists()
    cut_off(tmp_path / "two", tmp_path / "half", 7)  # rounds begin at 0, 4, 5, 9, 13
    assert searched(trained, loaders, tmp_path / "half", agent="evolution", workers=1, resume=True) == one
    with pytest.raises(InputError, match="batch"):
        searched(trained, loaders, tmp_path / "half", agent="evolution", batch=2, resume=True)


def test_single_cuts_are_scored_where_candidates_are_all_but_the_first_together(
    trained, loaders, tmp_path, monkeypatch
):
    begun = []
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))  # no earlier run has scored them
    monkeypatch.setattr(Pool, "begin", lambda self, jobs: begun.append([dict(job.choices) for job in jobs]))
    few = {"agent": "exact", "episodes": 4, "warmup": 1, "finalists": 1, "target": "tests.support.tiny_job:Formula"}
    searched(trained, loaders, tmp_path / "run", workers=2, **few)
    rows = [json.loads(line) for line in (tmp_path / "run/checkpoint/sensitivity.jsonl").read_text().splitlines()]
    assert begun[0] == [{row["decision"]: row["kept"]} for row in rows[1:]] and len(begun[0]) >= 3
    assert rows[0]["decision"] == ""  # nothing cut


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_searches_alike_with_one_two_and_four_workers(trained, loaders, tmp_path, agent):
    weights = {"candidate_weights": "reconstructed", "agent": agent}
    one = searched(trained, loaders, tmp_path / "1", **weights)
    for workers in (2, 4):
        assert searched(trained, loaders, tmp_path / str(workers), workers=workers, **weights) == one


def test_a_score_of_a_local_function_is_refused_in_one_line(trained, loaders, tmp_path):
    def evaluate(model, batches):
        return autoprune.evaluation.accuracy(model, batches)

    with pytest.raises(InputError, match=r"^--workers 2: the network .* cannot be sent to another process .*$"):
        searched(trained, loaders, tmp_path / "own", evaluate=evaluate, score="accuracy", workers=2, agent="random")
