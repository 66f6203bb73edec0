"""The table of ingredients: paired differences by hand; what is there is not run again."""

import importlib.util
import json
from pathlib import Path

import pytest

from autoprune.run.experiment import Experiment
from autoprune.training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("ingredients", ROOT / "benchmarks" / "ingredients.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(folder, cell, seed, accuracy):
    content = {"cell": cell, "seed": seed, "accuracy": accuracy}
    (folder / f"{cell}-{seed}.json").write_text(json.dumps(content))


def test_cells_are_settings_and_cover_presets_and_schedules(bench):
    built = [Experiment.build(differs) for differs in bench.CELLS.values()]
    assert {each.recipe for each in built} == set(PRESETS)
    assert {each.schedule for each in built} == {"one-shot", "iterative", "cubic"}
    assert len({bench.slug(name) for name in bench.CELLS}) == len(bench.CELLS)


def test_differences_are_paired_by_seed(bench, tmp_path):
    for seed, (plain, default) in enumerate([(0.90, 0.91), (0.80, 0.84), (0.70, 0.71)]):
        result(tmp_path, "plain", seed, plain)
        result(tmp_path, "default", seed, default)
    result(tmp_path, "cubic", 1, 0.86)
    rows = bench.table(tmp_path).splitlines()[2:]
    # -1, -4, -1: mean -2, standard deviation sqrt(3), standard error 1.
    assert "| plain | 3 | 80.00 +- 10.00 | -2.00 +- 1.00 |" in rows
    assert "| cubic | 1 | 86.00 | +2.00 |" in rows  # to the default of its own seed


def test_what_is_there_is_not_run_again(bench, tmp_path, monkeypatch):
    asked = []

    def cell(chosen, name, seed):
        asked.append((name, seed))
        return {"cell": name, "seed": seed, "accuracy": 0.5, "seconds": 1.0}

    monkeypatch.setattr(bench, "cell", cell)
    monkeypatch.setattr("sys.argv", ["x", "--out", str(tmp_path), "--seeds", "2", "--only", "plain;cubic"])
    result(tmp_path, "plain", 0, 0.9)
    assert bench.main() == 0 and bench.main() == 0
    assert asked == [("cubic", 0), ("plain", 1), ("cubic", 1)]
    assert json.loads((tmp_path / "plain-0.json").read_text())["accuracy"] == 0.9
