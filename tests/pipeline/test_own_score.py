"""A score that is no accuracy: its own unit, its own direction, from the first episode to the page."""

import json

import pytest
import torch

import autoprune
from autoprune.errors import InputError
from autoprune.reports import write_html
from autoprune.reports.compare import compare, pareto_picture
from tests.support.listener import Heard
from tests.support.pages import Page

QUICK = {"budget": "flops<=60%", "target": "tests.support.tiny_job:Formula", "agent": "optuna", "episodes": 8}
STILL = {"warmup": 4, "finalists": 3, "finetune_epochs": 0}


def error(model, batches):
    """Mean squared distance of the probabilities to the right answer; the smaller, the better."""
    with torch.no_grad():
        found = [(model(x).softmax(1) - torch.nn.functional.one_hot(y, 4)).square().sum(1) for x, y in batches]
    return float(torch.cat(found).mean())


def compress(trained, loaders, **settings):
    return autoprune.compress(trained, **{**loaders, **QUICK, **STILL, **settings})


def episodes(run):
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def minimised(trained, loaders, tmp_path_factory):
    run = tmp_path_factory.mktemp("own") / "run"
    heard = Heard()
    compress(trained, loaders, evaluate=error, score="Brier", direction="minimize", run=run, talk=heard)
    return run, heard


def test_minimising_a_score_is_maximising_its_negative(minimised, trained, loaders, tmp_path):
    run, _ = minimised
    compress(trained, loaders, evaluate=lambda m, b: -error(m, b), score="minus Brier", run=tmp_path / "r")
    ours, theirs = episodes(run), episodes(tmp_path / "r")
    assert [row["choices"] for row in ours] == [row["choices"] for row in theirs]
    assert [row["score"] for row in ours] == [-row["score"] for row in theirs]
    assert [row["reward"] for row in ours] == [row["reward"] for row in theirs]
    chosen = [json.loads((folder / "policy.json").read_text())["choices"] for folder in (run, tmp_path / "r")]
    assert chosen[0] == chosen[1]


def test_the_least_error_wins_and_has_the_highest_reward(minimised):
    run, _ = minimised
    rows = episodes(run)
    best = min(rows, key=lambda row: row["score"])
    assert best["reward"] == max(row["reward"] for row in rows)
    assert all("accuracy" not in row or row["accuracy"] is None for row in rows)


def test_the_report_has_the_score_beside_an_accuracy_of_null(minimised):
    run, _ = minimised
    report = json.loads((run / "report.json").read_text())
    assert (report["score_name"], report["direction"]) == ("Brier", "minimize")
    for figures in (report["dense"], report["pruned"], report["finetuned"], report["baselines"]["uniform"]):
        assert figures["accuracy"] is None
        assert figures["score"] > 0
        assert (figures["score_name"], figures["direction"]) == ("Brier", "minimize")


def test_people_read_it_in_its_own_unit(minimised):
    run, heard = minimised
    page = " ".join(Page(write_html(run)).words)
    dense = json.loads((run / "report.json").read_text())["dense"]["score"]
    assert f"{dense:.4g}" in page and "Brier, test split" in page
    assert "ccuracy" not in page.split("Settings and environment")[0]
    assert not any("accuracy" in sentence for sentence in heard.said)
    assert any("best of 8 episodes: 0." in sentence for sentence in heard.said)


def test_compare_follows_the_direction_and_draws_no_two_scores_in_one_picture(minimised, trained, loaders, tmp_path):
    run, _ = minimised
    table = compare([run])
    cells = dict(zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True))
    report = json.loads((run / "report.json").read_text())
    worse = report["finetuned"]["score"] - report["dense"]["score"]
    assert cells["Brier, dense"] == f"{report['dense']['score']:.4g}"
    assert cells["drop"] == f"{worse:.4g}"  # an error that grew is a loss, and has no minus
    pareto_picture([run], tmp_path / "one.svg")
    compress(trained, loaders, run=tmp_path / "accuracy")
    mixed = compare([run, tmp_path / "accuracy"])
    assert "score, dense" in [str(cell) for cell in next(iter(mixed.columns)).cells]
    with pytest.raises(InputError, match=r"Brier \(minimize\), accuracy \(maximize\)"):
        pareto_picture([run, tmp_path / "accuracy"], tmp_path / "two.svg")


def test_a_budget_in_loss_of_score_allows_a_larger_error(trained, loaders, tmp_path):
    wide = {"budget": "accuracy_drop<=0.3", "episodes": 5, "warmup": 1, "finalists": 1}
    settings = {"evaluate": error, "score": "Brier", "direction": "minimize", "run": tmp_path / "r", **wide}
    budget = compress(trained, loaders, **settings).report["budget"]
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert budget["met"] and budget["measured"] <= budget["limit"]
    step = next(iter((tmp_path / "r").glob("steps/*/report.json")))
    dense_on_search = json.loads(step.read_text())["dense"]["score"]
    assert budget["limit"] > dense_on_search - 1e-9 or budget["limit"] > report["dense"]["score"]


def test_a_progressive_run_keeps_the_score(trained, loaders, tmp_path):
    settings = {"budget": "flops<=70%", "target": QUICK["target"], "step": "15%", "step_epochs": 0}
    autoprune.progressive(
        trained, **loaders, **settings, finetune_epochs=0, evaluate=error, score="Brier", direction="minimize",
        run=tmp_path / "r",
    )  # fmt: skip
    steps = [json.loads(line) for line in (tmp_path / "r" / "steps.jsonl").read_text().splitlines()]
    assert all(step["score"] > 0 and step["score_cut"] > 0 and "accuracy" not in step for step in steps)
    assert "Brier cut" in " ".join(Page(write_html(tmp_path / "r")).words)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"score": "PSNR"}, "the score PSNR needs a function"),
        ({"direction": "minimize"}, "the score score needs a function"),
        ({"evaluate": error, "score": "accuracy", "direction": "minimize"}, "accuracy is a fraction"),
        ({"evaluate": error, "score_format": "{} of {}"}, "the score's format"),
        ({"evaluate": error, "score_format": "{:d}"}, "the score's format"),
        ({"evaluate": error, "direction": "down"}, "direction"),
        ({"evaluate": "tests.pipeline.test_own_score:nothing"}, "has no nothing"),
        ({"loss": "no_such_module_at_all:loss"}, "there is no module no_such_module_at_all"),
    ],
)
def test_a_score_that_cannot_be_one_is_refused_before_anything(settings, reason, trained, loaders, tmp_path):
    with pytest.raises(InputError, match=reason):
        compress(trained, loaders, **settings, run=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_settings_file_names_loss_score_and_direction(trained, loaders, tmp_path):
    names = {"loss": "tests.pipeline.test_own_score:brier", "evaluate": "tests.pipeline.test_own_score:error"}
    lines = [*(f"{key}: {value}" for key, value in names.items()), "score: Brier", "direction: minimize"]
    (tmp_path / "own.yaml").write_text("\n".join([*lines, "score_format: '{:.3f} squares'"]) + "\n")
    heard = Heard()
    report = compress(trained, loaders, settings=tmp_path / "own.yaml", talk=heard, finetune_epochs=1).report
    assert (report["score_name"], report["direction"], report["score_format"]) == (
        "Brier",
        "minimize",
        "{:.3f} squares",
    )
    assert any(" squares on the search split before fine-tuning" in sentence for sentence in heard.said)


def brier(output, batch):
    return (output.softmax(1) - torch.nn.functional.one_hot(batch[1], 4)).square().sum(1).mean()


def test_tensorboard_has_the_score_in_its_own_unit(minimised):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = minimised
    board = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    rows = episodes(run)
    assert [event.value for event in board.Scalars("search/score")] == pytest.approx([row["score"] for row in rows])
    best = [event.value for event in board.Scalars("best/score")]
    assert best == sorted(best, reverse=True)  # the least error so far
    assert "search/accuracy" not in board.Tags()["scalars"]
