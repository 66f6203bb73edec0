"""A budget on energy: kept as the sensor says where there is one, kept by the model and labelled so where not."""

import json
from pathlib import Path

import pytest
import torch

import autoprune
from autoprune.cost.budget import Budget
from autoprune.cost.energy import MODELLED, Coefficients, energy_of
from autoprune.errors import BudgetError, InputError
from autoprune.graph import analyse
from autoprune.reports.tables import summary_lines
from tests.support.listener import Heard
from tests.support.targets.metered_target import energy_by_formula
from tests.support.verdicts import missed

EXAMPLE = torch.zeros(1, 1, 8, 8)


def compress(model, loaders, **settings):
    settings = {
        "target": "tests.support.targets.metered_target:Meter",
        "agent": "random",
        "episodes": 8,
        "finetune_epochs": 1,
        **settings,
    }
    return autoprune.compress(model, **loaders, granularity=2, finalists=2, **settings)


def test_units_and_their_refusal() -> None:
    assert Budget.parse("energy", "3mJ").limit(9.0) == 3.0
    assert Budget.parse("energy", "500 uJ").limit(9.0) == pytest.approx(0.5)
    assert Budget.parse("energy", "0.1J").limit(9.0) == pytest.approx(100.0)
    assert Budget.from_text("energy<=50%").limit(9.0) == 4.5
    with pytest.raises(InputError, match="50% or 3mJ"):
        Budget.parse("energy", "3")


def test_a_budget_is_met_as_the_sensor_says(trained, loaders, tmp_path: Path) -> None:
    result = compress(trained, loaders, budget="energy<=60%", run=tmp_path / "run")
    dense, small = energy_by_formula(trained, EXAMPLE), energy_by_formula(result.model, EXAMPLE)
    budget = result.report["budget"]
    assert (
        budget["met"] and budget["measured"] == pytest.approx(small) and budget["limit"] == pytest.approx(0.6 * dense)
    )
    assert small <= 0.6 * dense
    for name, network in (("dense", trained), ("finetuned", result.model)):
        figures = result.report[name]
        assert figures["energy_mj"] == pytest.approx(energy_by_formula(network, EXAMPLE))
        assert figures["energy_label"] == "measured (RAPL)"
    policy = json.loads((tmp_path / "run/policy.json").read_text())
    assert policy["measured"]["energy_mj"] == pytest.approx(small)
    assert policy["predicted"]["energy_mj"] == pytest.approx(small, rel=0.05)  # fitted on other networks
    assert any("energy of one call" in line and "measured (RAPL)" in line for line in summary_lines(result.report))


def test_an_absolute_budget_as_measured(trained, loaders) -> None:
    dense = energy_by_formula(trained, EXAMPLE)
    result = compress(trained, loaders, budget=f"energy<={0.7 * dense:.4f}mJ")
    assert result.report["budget"]["measured"] <= 0.7 * dense + 1e-4


def test_without_a_sensor_it_is_modelled_and_says_so(trained, loaders) -> None:
    result = compress(trained, loaders, budget="energy<=50%", target="tests.support.targets.metered_target:NoMeter")
    budget, figures = result.report["budget"], result.report["finetuned"]
    counted = energy_of(analyse(result.model, EXAMPLE, validate=False), Coefficients.modelled(), 1)
    assert budget["met"] and budget["measured"] == pytest.approx(counted) == pytest.approx(figures["energy_mj"])
    assert figures["energy_label"] == MODELLED and "energy_mj" not in result.policy.measured
    assert budget["limit"] == pytest.approx(0.5 * result.report["dense"]["energy_mj"])
    assert any(MODELLED in line for line in summary_lines(result.report))


def test_a_run_on_another_budget_reports_energy_too(trained, loaders) -> None:
    report = compress(trained, loaders, budget="flops<=50%").report
    assert report["finetuned"]["energy_label"] == "measured (RAPL)"
    assert report["finetuned"]["energy_mj"] < report["dense"]["energy_mj"]


def test_an_energy_out_of_reach_is_refused_with_the_least(trained, loaders) -> None:
    with pytest.raises(BudgetError, match=r"mJ.* cannot be met: the least reachable is") as caught:
        compress(trained, loaders, budget="energy<=1%")
    assert caught.value.least is not None and caught.value.least > 0


def test_a_sensor_that_fails_at_the_end_leaves_a_figure_that_says_so(trained, loaders) -> None:
    talk = Heard()
    result = compress(
        trained, loaders, budget="energy<=60%", target="tests.support.targets.metered_target:FailsAtTheEnd", talk=talk
    )
    figures = result.report["finetuned"]
    assert figures["energy_label"] == "modelled (fitted on RAPL)" and "energy_mj" not in result.policy.measured
    assert any("judged by the fitted model" in said for said in talk.said)


def test_a_network_that_missed_does_not_come_back_as_the_uniform_baseline(trained, loaders, monkeypatch) -> None:
    from autoprune.pipeline.jobs import compress as jobs

    real, timed = jobs.verify, []

    def misses_once(problem, choices, *more):
        timings, verdict = real(problem, choices, *more)
        timed.append(dict(choices))
        return timings, missed(verdict, 1.002) if len(timed) == 1 else verdict

    monkeypatch.setattr(jobs, "verify", misses_once)
    monkeypatch.setattr(jobs, "tournament", lambda problem, finalists, *_: (finalists[-1], []))  # the last is uniform
    compress(trained, loaders, budget="energy<=60%", finetune_epochs=0)
    assert len(timed) == 2 and timed[1] != timed[0]
