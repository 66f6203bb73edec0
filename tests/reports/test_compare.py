import io
import itertools
import subprocess
import sys

import pytest
from rich.console import Console

from autoprune.errors import InputError, MissingExtraError, RunError
from autoprune.reports import compare, pareto_picture
from autoprune.reports.figures.search import front, thinned
from tests.support.run_folders import report_of, write_run

TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture
def runs(tmp_path, space):
    """A folder of two sub-runs."""
    small = {"accuracy": 0.9, "latency_ms": 0.2, "flops": 5e6, "params": 5e4}
    missed = {"kind": "latency", "requested": "30%", "limit": 0.19, "measured": 0.2, "met": False}
    write_run(tmp_path / "both" / "ddpg", space)
    write_run(tmp_path / "both" / "optuna", space, report=report_of(agent="optuna", finetuned=small, budget=missed))
    return tmp_path / "both"


def cells(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    lines = [line.split("  ") for line in console.file.getvalue().splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def test_runs_stand_side_by_side(runs):
    rows = cells(compare([runs / "ddpg", runs / "optuna"]))
    assert rows["ddpg"] == ["optuna"]  # the header: an empty corner, then the runs
    assert rows["agent"] == ["ddpg", "optuna"]
    assert rows["budget"] == ["latency 50%", "latency 30%"]
    assert rows["budget met"] == ["yes", "NO"]
    assert rows["accuracy, fine-tuned"] == ["91.80 \N{PLUS-MINUS SIGN} 0.30 %", "90.00 %"]
    assert rows["drop, points"] == ["0.90", "2.70"]
    assert rows["latency, ms"] == ["0.343", "0.200"]
    assert rows["speed-up"] == [f"{0.715 / 0.343:.2f}{TIMES}", f"{0.715 / 0.2:.2f}{TIMES}"]
    assert rows["MACs"] == ["9.80 M", "5.00 M"]
    assert rows["time"] == ["11:23 min", "11:23 min"]


def test_a_folder_of_sub_runs_stands_for_all_of_them(runs):
    assert cells(compare([runs])) == cells(compare([runs / "ddpg", runs / "optuna"]))


def test_runs_of_one_name_are_told_apart_by_their_parents(tmp_path, space):
    write_run(tmp_path / "a" / "ddpg", space)
    write_run(tmp_path / "b" / "ddpg", space)
    assert cells(compare([tmp_path / "a" / "ddpg", tmp_path / "b" / "ddpg"]))["a/ddpg"] == ["b/ddpg"]


def test_what_was_not_measured_is_a_dash(tmp_path, space):
    write_run(tmp_path / "run", space, report=report_of(finetuned=None, pruned=None, seconds=None))
    rows = cells(compare([tmp_path / "run"]))
    for label in ("accuracy, fine-tuned", "drop, points", "latency, ms", "speed-up", "MACs", "time"):
        assert rows[label] == ["\N{EN DASH}"]


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_picture_is_of_the_suffixs_kind(runs, tmp_path, suffix, start):
    out = tmp_path / f"front{suffix}"
    pareto_picture([runs], out)
    assert out.read_bytes().startswith(start)
    if suffix == ".svg":
        assert "<!-- optuna -->" in out.read_text()


def test_a_picture_of_another_kind_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        pareto_picture([runs], tmp_path / "front.doc")
    assert not (tmp_path / "front.doc").exists()


def test_runs_without_measurements_have_no_picture(tmp_path, space):
    write_run(tmp_path / "run", space, report=report_of(finetuned=None))
    with pytest.raises(InputError, match="none of these runs"):
        pareto_picture([tmp_path / "run"], tmp_path / "front.png")


def test_without_matplotlib_the_extra_is_named(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"autoprune\[report\]"):
        pareto_picture([runs], tmp_path / "front.png")


@pytest.mark.parametrize("make", [lambda p: p / "nowhere", lambda p: (p / "empty", (p / "empty").mkdir())[0]])
def test_what_is_no_run_is_refused(tmp_path, make):
    with pytest.raises(RunError):
        compare([make(tmp_path)])


def test_nothing_to_compare_is_an_input_error():
    with pytest.raises(InputError, match="at least one run"):
        compare([])


def test_the_front_holds_exactly_the_points_that_nothing_beats():
    import numpy as np

    draw = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in draw.uniform(size=(60, 2)).round(1)]
    beaten = {(x, y) for (x, y), (a, b) in itertools.product(points, points) if a <= x and b >= y and (a, b) != (x, y)}
    assert front(points) == sorted(set(points) - beaten)


def test_thinning_keeps_the_ends_and_the_order():
    rows = [{"episode": k} for k in range(1001)]
    few = [row["episode"] for row in thinned(rows, 11)]
    assert few == list(range(0, 1001, 100))


def test_importing_the_room_loads_neither_torch_nor_matplotlib():
    code = (
        "import sys, autoprune.reports; "
        "print([m for m in ('torch', 'tensorboard', 'matplotlib', 'pandas', 'autoprune.pipeline') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
