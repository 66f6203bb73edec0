"""`autoprune llm compress --decode-latency`: the budget holds as measured, and what was measured is kept."""

import json

import pytest

from autoprune.llm.models.folder import save_folder
from autoprune.llm.search.timers import TIMERS
from tests.support.language_models import language_model, prose
from tests.support.language_timers import Constant, Formula, Saturating


@pytest.fixture
def command(folder):
    for timer in (Formula, Saturating, Constant):
        timer.asked = 0
        TIMERS.register(timer.name, timer)
    save_folder(language_model(), folder / "model")
    (folder / "learn.txt").write_text(prose(400))
    (folder / "speech.txt").write_text(prose(300, seed=1))
    return [
        "llm", "compress", "--model", "model", "--calibration", "learn.txt", "--context", "32", "--tokens", "320",
        "--windows", "4", "--window-length", "32", "--text", "speech.txt", "--agent", "uniform", "--run", "job",
    ]  # fmt: skip


def test_a_latency_is_met_as_measured(autoprune, folder, command):
    done = autoprune(*command, "--decode-latency", "70%", "--target", "saturating")
    assert done.code == 0, done.err
    report = json.loads((folder / "runs/job/report.json").read_text())
    details = report["details"]
    assert report["pruned"]["latency_ms"] == details["measured"]["cost"] <= 0.7 * report["dense"]["latency_ms"]
    assert details["target"] == "saturating" and details["fit"]["n"] == len(shapes_to_time_of(folder)) + 1
    asked = Saturating.asked
    (folder / "runs/job/report.json").unlink()
    assert autoprune("llm", "compress", "--run", "job", "--resume").code == 0
    assert Saturating.asked == asked  # what was measured is read back
    assert json.loads((folder / "runs/job/report.json").read_text())["details"] == details


def shapes_to_time_of(folder):
    journal = json.loads((folder / "runs/job/checkpoint/journal.json").read_text())
    return [key for key in journal if key.startswith("timed ")]


@pytest.mark.slow
def test_a_latency_that_no_network_meets_is_refused(autoprune, folder, command):
    done = autoprune(*command, "--prefill-latency", "70%", "--target", "constant")
    assert done.code == 3 and "as measured" in done.error, done.err
