"""`codesign`: the front holds its baselines, figures are those of the masks, runs go on, wrong input gets a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import autoprune
from autoprune.foundations.files import read_json
from autoprune.hardware.accelerators import load_accelerator, workload_of
from autoprune.masks.parsing import family_of
from autoprune.masks.planes import PLAIN
from autoprune.reports.codesign import codesign_lines
from tests.support.codesigned import NAMES, SHAPE, codesigned, loader, network


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> autoprune.Result:
    folder = tmp_path_factory.mktemp("codesign")
    return codesigned(folder, folder / "run")


def test_the_front_is_one_and_no_baseline_beats_it(finished: autoprune.Result) -> None:
    front = finished.report["front"]
    values, scores = [each["edp_mj_ms"] for each in front], [each["search_score"] for each in front]
    assert values == sorted(values) and scores == sorted(scores) and len(set(scores)) == len(scores)
    assert tuple(finished.report["baselines"]) == NAMES
    for points in finished.report["baselines"].values():
        assert points
        for point in points:
            assert set(point) >= {"accuracy", "cycles", "energy_mj", "area_mm2", "pattern", "hardware"}
            assert point["area_mm2"] <= 1
            assert any(
                each["edp_mj_ms"] <= point["edp_mj_ms"] * (1 + 1e-12) and each["search_score"] >= point["search_score"]
                for each in front
            )
    assert {point["hardware"] for point in finished.report["baselines"]["uniform"]} == {finished.report["fixed_chip"]}
    volumes = finished.report["hypervolumes"]
    assert volumes["joint"] >= max(volumes[name] for name in NAMES) - 1e-12


def test_the_chosen_point_is_one_of_the_front_that_loses_no_more_than_allowed(finished: autoprune.Result) -> None:
    report = finished.report
    fine = [each for each in report["front"] if each["search_score"] >= report["dense"]["search_score"] - 0.3]
    (chosen,) = (each for each in fine if each["edp_mj_ms"] == report["chosen"]["edp_mj_ms"])
    least = min(fine, key=lambda each: each["edp_mj_ms"])
    assert chosen["edp_mj_ms"] <= 1.5 * least["edp_mj_ms"]  # another one only where own activations differ


def test_masks_are_exact_after_training_and_the_run_gives_the_network_back(finished: autoprune.Result) -> None:
    masks = load_file(finished.run / "masks.safetensors")
    family = family_of(finished.report["chosen"]["pattern"])
    assert masks
    for name, mask in masks.items():
        weight = finished.model.get_parameter(name)
        assert not bool(weight[mask == 0].any()) and 0 < int(mask.sum()) < mask.numel()
        kept = finished.report["chosen"]["choices"][name]
        planes = PLAIN.of(weight)
        assert family.keeping(kept, tuple(planes.shape)).fault(planes) is None
    again = autoprune.load(finished.run, model=network())
    images = torch.randn(4, *SHAPE)
    assert torch.equal(again(images), finished.model(images))


def test_the_figures_are_those_of_the_masks_on_the_chip_that_is_written(finished: autoprune.Result) -> None:
    accelerator = load_accelerator(finished.run / "accelerator.yaml")
    dense = network()
    dense.load_state_dict(load_file(finished.run / "dense.safetensors"))
    calibration = next(iter(loader(96, 1)))[0]
    works = workload_of(dense.eval(), torch.zeros(1, *SHAPE), calibration, vectors=4, seed=0)
    masks = load_file(finished.run / "masks.safetensors")
    under = []
    for work in works:
        mask = masks.get(work.weight)
        matrix = None if mask is None else mask.flatten(2).transpose(1, 2).flatten(1) if mask.ndim > 2 else mask
        under.append(work if matrix is None else work.with_mask(matrix.numpy() != 0))
    cost, chosen, pruned = accelerator.total(under), finished.report["chosen"], finished.report["pruned"]
    assert chosen["cycles"] == pytest.approx(cost.cycles, rel=1e-9)
    assert chosen["energy_mj"] == pytest.approx(cost.energy_mj, rel=1e-6)
    cut = network()
    cut.load_state_dict(load_file(finished.run / "pruned.safetensors"))
    own = accelerator.total(list(workload_of(cut.eval(), torch.zeros(1, *SHAPE), calibration, vectors=4, seed=0)))
    assert pruned["cycles"] == pytest.approx(own.cycles, rel=1e-9)
    assert pruned["energy_mj"] == pytest.approx(own.energy_mj, rel=1e-6)
    assert pruned["area_mm2"] == pytest.approx(accelerator.area_mm2)
    assert accelerator.capacity_ok(under)
    zeros = sum(int((mask == 0).sum()) for mask in masks.values())
    assert pruned["zeros"] == finished.report["dense"]["zeros"] + zeros
    assert abs(finished.report["table_error"]["latency"]) < 0.5


def test_the_page_and_the_front_are_written(finished: autoprune.Result) -> None:
    from autoprune.reports import write_html

    page = write_html(finished.run).read_text()
    assert "one after the other" in page and "simulated (" in page and page.count("<svg") + page.count("<img") >= 5
    for layer in finished.report["layers"]:
        shares = [layer["utilisation"], *layer["stalls"].values()]
        assert sum(shares) == pytest.approx(1, abs=1e-6)  # no lane-cycle is lost or invented
        assert layer["index_bits"]["bitmap"] == pytest.approx(1 / layer["density"])
    front = read_json(finished.run / "front.json", "front")
    assert front["front"] == finished.report["front"] and front["baselines"] == finished.report["baselines"]


def test_a_run_that_was_stopped_comes_to_the_same(finished: autoprune.Result, tmp_path: Path) -> None:
    seen = []

    def stop(progress: Any, event: Any) -> None:
        if event.kind == "episode":
            seen.append(event)
            if len(seen) == 9:
                progress.stop()

    folder = finished.run.parent
    assert not codesigned(folder, tmp_path / "run", callbacks=stop).finished
    assert not (tmp_path / "run" / "report.json").exists() and (tmp_path / "run" / "accelerator.yaml").exists()
    again = codesigned(folder, tmp_path / "run", resume=True)
    ignored = {"seconds"}
    own = {k: v for k, v in again.report.items() if k not in ignored}
    assert json.dumps(own, sort_keys=True) == json.dumps(
        {k: v for k, v in finished.report.items() if k not in ignored}, sort_keys=True
    )


def test_training_that_loses_is_not_kept(tmp_path: Path) -> None:
    settings = {"searched": "pruning", "episodes": 2, "area": "9mm2"}
    report = codesigned(tmp_path, tmp_path / "run", finetune=ruined, **settings).report
    (outcome,) = report["fine_tuning"]
    assert outcome["after"] < outcome["before"] and not outcome["kept"]
    assert any("the network before it is kept" in line for line in codesign_lines(report))
    assert report["finetuned"]["accuracy"] == report["pruned"]["accuracy"]
    pruned, tuned = (load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("pruned", "finetuned"))
    assert all(torch.equal(pruned[name], tuned[name]) for name in pruned)


def ruined(model: nn.Module, constraint: Any, epochs: int) -> nn.Module:
    """A loop that answers the wrong class with certainty."""
    with torch.no_grad():
        model[6].weight.neg_()  # type: ignore[index, operator, union-attr]
        model[6].bias.neg_()  # type: ignore[index, operator, union-attr]
    return model


@pytest.mark.parametrize("agent", ["optuna", pytest.param("ddpg", marks=pytest.mark.slow)])
def test_an_agent_may_choose_the_chip_first(agent: str, tmp_path: Path) -> None:
    settings = {"agent": agent, "chip_first": True, "episodes": 8, "warmup": 2, "finetune_epochs": 0}
    report = codesigned(tmp_path, tmp_path / "run", **settings).report
    rows = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    joint = [row for row in rows if ": joint " in row["part"]]
    chips = {json.dumps({name: kept for name, kept in row["choices"].items() if "chip " in name}) for row in joint}
    assert len(joint) == 8 and len(chips) > 1 and "{}" not in chips
    assert all(row["predicted_cost"] < 1 for row in joint)  # in mJ ms: what fits no chip costs more than any limit
    assert not any("chip " in name for row in rows if row not in joint for name in row["choices"])
    assert report["hypervolumes"]["joint"] >= max(report["hypervolumes"][name] for name in NAMES) - 1e-12
    again = codesigned(tmp_path, tmp_path / "run", **settings, resume=True).report
    assert again["front"] == report["front"]


def test_the_report_says_whether_the_fine_tuned_network_keeps_the_limit(tmp_path: Path) -> None:
    settings = {"at_most": "80%", "searched": "pruning", "episodes": 2, "finetune_epochs": 0}
    report = codesigned(tmp_path, tmp_path / "run", **settings).report
    limit = report["limit"]
    assert limit["value"] == pytest.approx(0.8 * report["dense"]["edp_mj_ms"])
    assert limit["finetuned"] == pytest.approx(report["finetuned"]["edp_mj_ms"])
    assert limit["met"] == (limit["finetuned"] <= limit["value"])
    missed = report | {"limit": limit | {"finetuned": 2 * limit["value"], "met": False}}
    assert any("is not met: fine-tuned, it takes" in line for line in codesign_lines(missed))
    assert not any("is not met" in line for line in codesign_lines(report | {"limit": limit | {"met": True}}))


def test_optuna_searches_the_whole_front_of_each_family_in_one_study(tmp_path: Path) -> None:
    settings = {"agent": "optuna@front=true", "levels": 1, "episodes": 12, "finetune_epochs": 0}
    report = codesigned(tmp_path, tmp_path / "run", **settings).report
    rows = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    joint = [row for row in rows if ": joint " in row["part"]]
    families = {row["part"].split(":")[0] for row in joint}
    assert len({row["part"] for row in joint}) == len(families)  # one level: one study a family
    for family in families:
        costs = [row["predicted_cost"] for row in joint if row["part"].startswith(family)]
        assert max(costs) > 1.5 * min(costs)  # points all along the front, not at one limit
    values, scores = [each["edp_mj_ms"] for each in report["front"]], [each["search_score"] for each in report["front"]]
    assert values == sorted(values) and scores == sorted(scores)
    again = codesigned(tmp_path, tmp_path / "run", **settings, resume=True).report
    assert again["front"] == report["front"]
