"""`autoprune bench`: a run or a model, what it writes, what it refuses, and what an interruption leaves."""

import json
import time

import pytest

from autoprune.errors import InputError
from tests.support.command_line import JOB, tree
from tests.support.processes import started, stopped

FORMULA = ["--targets", "tests.support.tiny_job:Formula"]


def test_a_finished_run_gets_its_comparison(autoprune, done):
    before = tree(done)
    outcome = autoprune(
        "bench",
        "runs/done",
        "--targets",
        "tests.support.tiny_job:Formula,tests.support.tiny_job:Absent",
        "--repetitions",
        3,
    )
    assert outcome.code == 0, outcome.err
    after = tree(done)
    assert set(after) - set(before) == {"bench.html", "bench.json", "bench.png"}
    assert {name: after[name] for name in before} == before
    content, report = (json.loads((done / f"{name}.json").read_text()) for name in ("bench", "report"))
    for name, of in (("dense", "dense"), ("pruned", "finetuned")):
        assert content["networks"][name]["accuracy"] == report[of]["accuracy"]
        assert content["networks"][name]["flops"] == report[of]["flops"]
        assert content["targets"]["tests.support.tiny_job:Formula"][name]["latency_ms"] == report[of]["latency_ms"]
    assert "tests.support.tiny_job:Absent: no board is plugged in" in outcome.out
    again = autoprune("bench", "runs/done", *FORMULA, "--json", "--no-accuracy", "--out", "elsewhere")
    assert json.loads(again.out)["networks"]["dense"]["accuracy"] is None
    assert tree(done) == after


def test_a_model_pruned_by_a_share_or_by_a_policy(autoprune, folder):
    by_share = autoprune(
        "bench", "tests.support.tiny_job:network", "--keep", 0.5, "--shape", "1,8,8", *FORMULA, "--json"
    )
    assert by_share.code == 0, by_share.err
    content = json.loads(by_share.out)
    assert content["subject"]["keep"] == 0.5
    assert content["networks"]["pruned"]["params"] < content["networks"]["dense"]["params"] / 2
    assert list(folder.iterdir()) == []
    dense = autoprune(
        "bench",
        "tests.support.tiny_job:network",
        "--data",
        "tests.support.tiny_job:loaders",
        *FORMULA,
        "--target-batch",
        4,
    )
    assert dense.code == 0, dense.err
    assert "accuracy was not measured: the network came without weights" in dense.out


def test_a_runs_policy_on_a_model_with_the_runs_weights(autoprune, done):
    options = [
        "--policy",
        done / "policy.json",
        "--weights",
        done / "dense.safetensors",
        "--data",
        "tests.support.tiny_job:loaders",
    ]
    outcome = autoprune("bench", "tests.support.tiny_job:network", *options, *FORMULA, "--json")
    assert outcome.code == 0, outcome.err
    content, report = json.loads(outcome.out), json.loads((done / "report.json").read_text())
    assert content["networks"]["pruned"]["accuracy"] == report["pruned"]["accuracy"]
    assert content["networks"]["pruned"]["params"] == report["pruned"]["params"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs/none", *FORMULA], 2, "there is no run at runs/none"),
        (["resnet21", *FORMULA], 2, "'resnet21' is neither a run's folder nor a model"),
        (["done", *FORMULA], 2, "did you mean runs/done?"),
        (["runs/done", "--targets", "onnxruntme"], 2, "no target is named 'onnxruntme'"),
        (
            ["runs/done", "--targets", "tests.support.tiny_job:Absent"],
            4,
            "tests.support.tiny_job:Absent: no board is plugged in",
        ),
        (["runs/done", *FORMULA, "--keep", "0.5"], 2, "--keep is for a model"),
        (["resnet20", *FORMULA, "--granularity", "8"], 2, "--granularity goes with --keep"),
        (["tests.support.tiny_job:network", *FORMULA, "--shape", "x"], 2, "write the sizes of one input"),
        (
            ["tests.support.tiny_job:network", *FORMULA, "--shape", "1,8,8", "--keep", "1.5"],
            2,
            "must lie in (0, 1], not 1.5",
        ),
        (["tests.support.tiny_job:network", *FORMULA, "--keep", "0.5", "--policy", "p.json"], 2, "give one of them"),
        (["tests.support.tiny_job:network", *FORMULA, "--policy", "p.json"], 2, "there is no policy at p.json"),
        (["runs/done", *FORMULA, "--out", "runs/done/report.json"], 2, "is a file; name a folder"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_leaves_nothing(autoprune, done, folder, arguments, code, says):
    before = tree(folder)
    outcome = autoprune("bench", *arguments)
    assert (outcome.code, outcome.lines) == (code, 1), outcome.err
    assert says in outcome.error
    assert tree(folder) == before


def test_an_unfinished_run_says_how_to_go_on(autoprune, done):
    (done / "finetuned.safetensors").unlink()
    outcome = autoprune("bench", "runs/done", *FORMULA)
    assert outcome.code == 2
    assert "runs/done holds no finetuned.safetensors; the run is not finished, go on with --resume" in outcome.error


HANGING = """
from pathlib import Path
import time
from autoprune.hardware import LocalTarget

class Hanging(LocalTarget):
    def available(self):
        return None

    def versions(self):
        return {}

    def pack(self, model, example):
        return b"1"

    def load(self, payload):
        Path("loaded").touch()
        time.sleep(60)
"""


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    (tmp_path / "nets.py").write_text(JOB.read_text())
    (tmp_path / "board.py").write_text(HANGING)
    process = started(
        tmp_path, "bench", "nets:network", "--shape", "1,8,8", "--targets", "board:Hanging", "--out", "out"
    )
    end = time.monotonic() + 60
    while not (tmp_path / "loaded").exists():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    code, seconds, said = stopped(process)
    assert (code, seconds < 5) == (130, True)
    assert [line for line in said.splitlines() if line.startswith("autoprune: ")] == ["autoprune: interrupted"]
    assert not (tmp_path / "out").exists()


def test_onnxruntime_through_the_command(autoprune):
    pytest.importorskip("onnxruntime")
    arguments = [
        "tests.support.tiny_job:network",
        "--shape",
        "1,8,8",
        "--targets",
        "onnxruntime",
        "--repetitions",
        1,
        "--json",
    ]
    outcome = autoprune("bench", *arguments)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["targets"]["onnxruntime"]["dense"]["latency_ms"] > 0


def test_a_folder_that_is_no_run_hides_no_model_of_the_zoo(autoprune, folder):
    (folder / "resnet20").mkdir()
    outcome = autoprune("bench", "resnet20", "--keep", 0.5, "--shape", "1,8,8", *FORMULA, "--repetitions", 1, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["subject"]["model"] == "resnet20"


def test_a_run_whose_data_has_moved_is_scored_where_they_are_now(autoprune, done, monkeypatch):
    asked = []

    def load(spec, data_dir, **more):
        asked.append(data_dir)
        return real(spec, data_dir, **more)

    from autoprune.pipeline.bench import subject as bench_subject

    real = bench_subject.load_data
    monkeypatch.setattr(bench_subject, "load_data", load)
    assert autoprune("bench", "runs/done", *FORMULA, "--repetitions", 1, "--data-dir", "elsewhere").code == 0
    assert [str(place) for place in asked] == ["elsewhere"]


def test_figures_that_cannot_be_written_are_shown(autoprune, folder, monkeypatch):
    def full(content, out):
        raise InputError(f"cannot write {out}/bench.json: No space left on device")

    monkeypatch.setattr("autoprune.reports.html.bench_page.write_bench", full)
    options = ["--keep", 0.5, "--shape", "1,8,8", *FORMULA, "--json"]
    outcome = autoprune("bench", "tests.support.tiny_job:network", *options, "--out", "figures")
    assert (outcome.code, outcome.lines) == (2, 1) and "No space left" in outcome.error
    assert json.loads(outcome.out)["networks"]["pruned"]["params"] > 0
