"""Jobs on a simulated accelerator run as on any target; every figure is labelled, and nothing spreads."""

import json

import pytest
import torch

import autoprune
from autoprune.reports import write_html

CHIP = "accelerator:systolic"


@pytest.fixture(scope="module")
def finished(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "chip"
    settings = {"step": "25%", "finetune_epochs": 1, "target": CHIP, "granularity": 4, "seed": 1, "timing": "quick"}
    return autoprune.progressive(trained, **loaders, budget="latency<=70%", run=folder, **settings), folder


def test_a_budget_is_met_by_the_chips_own_cycles(finished):
    result, _ = finished
    report = result.report
    assert report["budget"]["met"] and report["target"] == CHIP
    again = autoprune.measure(result.model, torch.zeros(1, 1, 8, 8), target=CHIP)
    assert report["finetuned"]["latency_ms"] == again.ms  # an array without skipping does not see what it is given


def test_steps_report_the_chips_counters_with_their_source(finished):
    _, folder = finished
    rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for row in rows:
        signals = row["signals"]
        for name in ("cycles", "utilisation", "stalled", "sram_bytes", "energy_mj"):
            assert signals[name]["source"] == "simulated (systolic)" and signals[name]["value"] > 0
        assert signals["utilisation"]["value"] + signals["stalled"]["value"] == pytest.approx(1)
        assert signals["temperature_c"]["value"] is None
    assert rows[-1]["signals"]["cycles"]["value"] < rows[0]["signals"]["cycles"]["value"]


@pytest.mark.slow
def test_the_page_names_the_source_of_the_counters(finished):
    page = write_html(finished[1]).read_text()
    assert "simulated (systolic)" in page and "utilisation" in page


@pytest.mark.slow
def test_energy_is_a_budget_by_the_chips_own_model(trained, loaders, tmp_path):
    result = autoprune.compress(
        trained, **loaders, budget="energy<=80%", target="accelerator:eie", agent="random", episodes=4, warmup=0,
        granularity=4, finetune_epochs=1, run=tmp_path / "energy", timing="quick",
    )  # fmt: skip
    assert result.report["budget"]["met"] and '"simulated (eie)"' in json.dumps(result.report)
