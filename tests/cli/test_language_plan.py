"""`autoprune llm prune|compress --dry-run`: what is the user's is tried, the plan is printed, nothing is written."""

import re

import pytest

import autoprune as package
from autoprune.llm.models.folder import save_folder
from autoprune.llm.search.timers import TIMERS
from tests.support.language_models import language_model, prose
from tests.support.language_timers import Formula

TEXTS = ["--calibration", "learn.txt", "--text", "speech.txt", "--text", "manual.txt"]
SMALL = ["--context", "32", "--tokens", "320", "--windows", "4", "--window-length", "32", "--run", "job"]


@pytest.fixture
def given(folder):
    save_folder(language_model(), folder / "model")
    (folder / "learn.txt").write_text(prose(400))
    (folder / "speech.txt").write_text(prose(300, seed=1))
    (folder / "manual.txt").write_text(" ".join(str(n) for n in range(500)))
    return ["--model", "model", *TEXTS, *SMALL, "--dry-run"]


def tokens_of(stage, text):
    """How many tokens a stage is said to take."""
    return int(re.search(rf"{stage}: .*?: (\d+) tokens", text)[1])


def test_zeros_are_planned_and_nothing_is_written(autoprune, folder, given):
    done = autoprune("llm", "prune", "--method", "wanda", "--ratio", "2:4", *given)
    assert done.code == 0 and not (folder / "runs").exists(), done.err
    assert "plan for model: 2 decisions (2 of kind block); 0 frozen" in done.out and "budget: 2:4 by wanda" in done.out
    assert tokens_of("evaluate", done.out) == 2 * 2 * 320  # two models read two texts
    assert tokens_of("prune", done.out) == 2 * 4 * 32  # two passes over the windows
    assert "would be written to runs/job: experiment.yaml, checkpoint/, pruned/, report.json" in done.out


def test_a_search_is_planned_with_its_training(autoprune, folder, given):
    more = ["--agent", "random", "--episodes", "6", "--recover", "full", "--recover-steps", "4", "--distillation", "0"]
    done = autoprune("llm", "compress", "--params", "60%", *more, *given)
    assert done.code == 0 and not (folder / "runs").exists(), done.err
    assert "5 decisions" in done.out and "1 of kind queries" in done.out
    assert tokens_of("search", done.out) == 6 * 4 * 32  # six candidates on four windows
    assert tokens_of("recover", done.out) == 3 * 4 * 2 * 32  # three passes for each of four steps of two windows
    assert tokens_of("evaluate", done.out) == 3 * 2 * 320
    assert "recovered/" in done.out and "policy.json" in done.out
    refused = autoprune("llm", "compress", "--params", "1%", *given)
    assert refused.code == 3 and not (folder / "runs").exists(), refused.err


def test_a_target_is_tried_once(autoprune, given):
    TIMERS.register(Formula.name, Formula)
    Formula.asked = 0
    done = autoprune("llm", "compress", "--decode-latency", "70%", "--target", "formula", *given)
    assert done.code == 0 and Formula.asked == 1, done.err
    assert "profile: " in done.out and "10 shapes and the result on formula" in done.out


def test_from_python_the_plan_is_returned(folder, given):
    texts = {"calibration": "learn.txt", "text": ("speech.txt", "manual.txt"), "context": 32, "tokens": 320}
    plan = package.llm.prune(language_model(), method="vocabulary", ratio="10%", windows=4, window_length=32,
                             dry_run=True, **texts)  # fmt: skip
    assert [stage.name for stage in plan.stages] == ["load", "prune", "evaluate"] and plan.stages[1].seconds == 0
    assert not (folder / "runs").exists()


def test_what_a_run_would_refuse_is_refused(autoprune, folder, given):
    (folder / "manual.txt").write_text("too short")
    done = autoprune("llm", "prune", *given)
    assert done.code == 2 and "manual" in done.error and not (folder / "runs").exists()
